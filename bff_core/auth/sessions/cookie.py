"""The cookies of a session: their names, how they are set, and how they are found (RFC 6265bis)."""

from __future__ import annotations

import base64
import re
import secrets

from starlette.types import Scope

from ...errors import Problem, Refused

__all__ = ["Cookies", "new_id"]

MAX_COOKIES = 16 * 1024
MAX_NUMBER = 100
_ID = re.compile(rb"[A-Za-z0-9_-]{43}")
LOGIN_PART = 12


def new_id() -> str:
    """256 bits of randomness, as text that fits everywhere."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


class Cookies:
    """Names and attributes. ``secure`` ones begin with ``__Host-Http-``: browsers take them over TLS, for this host
    alone and out of reach for scripts, or not at all, so that no sub-domain can plant one. Others are for development
    on one's own machine."""

    def __init__(self, *, secure: bool) -> None:
        prefix = "__Host-Http-" if secure else "dev-"
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
        self.session = f"{prefix}session"
        self._session = f"{self.session}=".encode()
        self._login = f"{prefix}login-"

    def login(self, state: str) -> str:
        """The name of the cookie that binds the sign-in ``state`` to the browser."""
        return self._login + state[:LOGIN_PART]

    def set(self, name: str, value: str, max_age: int | None = None) -> str:
        """A ``Set-Cookie`` value; ``max_age`` in seconds, None for as long as the browser runs."""
        age = "" if max_age is None else f"; Max-Age={max_age}"
        return f"{name}={value}{self._attributes}{age}"

    def clear(self, name: str) -> str:
        """A ``Set-Cookie`` value that removes it."""
        return self.set(name, "", 0)

    def session_id(self, header: bytes) -> str | None:
        """The session's identifier in a ``Cookie`` header, None when there is none.

        Raises a 400 or 431 problem for what no browser of ours sends, ``Refused`` for two of them.
        """
        if self._session not in header:
            return None
        found = None
        for pair in _pairs(header):
            if pair.startswith(self._session):
                if found is not None:
                    raise Refused(401, "duplicate_credentials")
                found = pair[len(self._session) :]
        if not found:
            return None
        if _ID.fullmatch(found) is None:
            raise Problem(400, f"The cookie {self.session} is not one of ours.")
        return found.decode()

    def all(self, scope: Scope) -> dict[str, str]:
        """Every cookie of a request by name, the first of a name; what is no text is left out."""
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
        found: dict[str, str] = {}
        for pair in _pairs(header):
            name, equals, value = pair.partition(b"=")
            if equals and pair.isascii():
                found.setdefault(name.decode(), value.decode())
        return found

    def stale_logins(self, scope: Scope, most: int) -> list[str]:
        """The cookies of sign-ins that were begun, when there are ``most`` or more of them."""
        names = [name for name in self.all(scope) if name.startswith(self._login)]
        return names if len(names) >= most else []


def _pairs(header: bytes) -> list[bytes]:
    if len(header) > MAX_COOKIES:
        raise Problem(431, f"The cookies are larger than {MAX_COOKIES} bytes.")
    pairs = header.split(b";")
    if len(pairs) > MAX_NUMBER:
        raise Problem(431, f"There are more than {MAX_NUMBER} cookies.")
    return [pair.strip() for pair in pairs]
