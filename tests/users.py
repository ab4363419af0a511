"""Who asks, in tests that are about something else."""

from __future__ import annotations

from starlette.types import Scope

from bff_core import Principal

__all__ = ["UserHeader"]


class UserHeader:
    """Everybody is who they say they are."""

    challenge = "Test"

    def __init__(self) -> None:
        self.scheme = {"type": "apiKey", "in": "header", "name": "x-user"}

    async def authenticate(self, scope: Scope) -> Principal | None:
        user = next((value.decode() for name, value in scope["headers"] if name == b"x-user"), None)
        return Principal(user) if user else None

    async def aclose(self) -> None:
        pass
