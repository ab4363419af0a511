"""What the demo's provider has given: codes, and refresh tokens that are good once (RFC 6749, RFC 7636, RFC 9700)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Grant", "Grants"]

CODE_LASTS = 60
REFRESH_LASTS = 8 * 3600


@dataclass(frozen=True, slots=True)
class Grant:
    """What ``user_id`` allowed ``client_id`` at the Unix time ``at``."""

    client_id: str
    redirect_uri: str
    user_id: str
    scope: str
    nonce: str | None
    challenge: str
    at: int


@dataclass(slots=True)
class _Given:
    grant: Grant
    is_code: bool
    family: str
    until: float
    used: bool = False


class Grants:
    """In memory: who restarts the service signs everybody out. ``clock`` gives Unix time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._given: dict[str, _Given] = {}
        self._ended: set[str] = set()

    def code(self, grant: Grant) -> str:
        """A code for ``grant``, good once and for a minute."""
        self._forget()
        return self._give(grant, secrets.token_urlsafe(16), CODE_LASTS, is_code=True)

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> tuple[Grant, str] | None:
        """The grant and its first refresh token; None when the code is not good. One that comes twice ends all that
        was given for it (RFC 6749 section 4.1.2)."""
        given = self._take(code, client_id, is_code=True)
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            given is None
            or given.grant.redirect_uri != redirect_uri
            or not hmac.compare_digest(given.grant.challenge, challenge)
        ):
            return None
        return given.grant, self._give(given.grant, given.family, REFRESH_LASTS)

    def renew(self, token: str, client_id: str) -> tuple[Grant, str] | None:
        """The grant and its next refresh token; None when this one is not good. One that comes twice has been stolen
        from one of the two, and ends the grant (RFC 9700 section 4.14.2)."""
        given = self._take(token, client_id, is_code=False)
        return None if given is None else (given.grant, self._give(given.grant, given.family, REFRESH_LASTS))

    def revoke(self, token: str, client_id: str) -> None:
        """End what ``token`` is of (RFC 7009)."""
        given = self._given.get(token)
        if given is not None and given.grant.client_id == client_id:
            self._ended.add(given.family)

    def _give(self, grant: Grant, family: str, lasts: float, *, is_code: bool = False) -> str:
        value = secrets.token_urlsafe(32)
        self._given[value] = _Given(grant, is_code, family, self._clock() + lasts)
        return value

    def _take(self, value: str, client_id: str, *, is_code: bool) -> _Given | None:
        given = self._given.get(value)
        if given is None or given.is_code is not is_code or given.grant.client_id != client_id:
            return None
        if given.until < self._clock():
            return None
        if given.used:
            self._ended.add(given.family)
        given.used = True
        return None if given.family in self._ended else given

    def _forget(self) -> None:
        now = self._clock()
        self._given = {value: given for value, given in self._given.items() if given.until >= now}
        self._ended &= {given.family for given in self._given.values()}
