"""Who is asking: what every way of authentication looks like to a gateway."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Scope

from ..context import Principal

__all__ = ["Authenticator", "depends_on_request", "header_values"]


class Authenticator(Protocol):
    """One way of authentication.

    One whose answer depends on the credentials alone says so with ``by_request = False``, and is asked once for all
    items of a batch. Any other is asked about each item's own method and path.
    """

    challenge: str
    """The value of ``WWW-Authenticate`` on a 401 (RFC 9110 section 11.6.1)."""

    scheme: dict[str, str]
    """The OpenAPI security scheme object."""

    async def authenticate(self, scope: Scope) -> Principal | None:
        """The principal behind a request (its ASGI scope), None when it bears no credentials of this kind.

        Raises ``Refused`` when it bears some that are not to be trusted, and a 503 problem when that cannot be told
        now.
        """

    async def aclose(self) -> None:
        """Free what is held."""


def depends_on_request(auth: Authenticator) -> bool:
    """Whether the answer for one request may be another than for the next one with the same credentials."""
    return bool(getattr(auth, "by_request", True))


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Every value of the request's header ``name`` (lower case)."""
    return [value for key, value in scope["headers"] if key == name]
