"""Who is asking: what every way of authentication looks like to a gateway."""

from __future__ import annotations

from typing import Protocol

from ..context import Principal

__all__ = ["Authenticator"]


class Authenticator(Protocol):
    """One way of authentication."""

    challenge: str
    """The value of ``WWW-Authenticate`` on a 401 (RFC 9110 section 11.6.1)."""

    scheme: dict[str, str]
    """The OpenAPI security scheme object."""

    async def authenticate(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """The principal behind the request's headers (names in lower case), None when there is none to be trusted.

        Raises a 503 problem when that cannot be told now.
        """

    async def aclose(self) -> None:
        """Free what is held."""
