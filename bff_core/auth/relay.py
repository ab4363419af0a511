"""How a service learns for whom it is called: the client's own token, or a header that the gateway signs."""

from __future__ import annotations

import time
from collections.abc import Callable

from joserfc import jwt
from joserfc.jwk import OctKey

from ..context import Principal
from .expiring import ExpiringMap

__all__ = ["PRINCIPAL_HEADER", "RelayedToken", "SignedPrincipal"]

PRINCIPAL_HEADER = "x-principal"
MAX_KEPT = 4096


class RelayedToken:
    """``Authorization: Bearer`` with the token that the client sent, or ``DPoP`` with one that is bound to the
    gateway's key (the proof is the wire's to add); nothing for a principal that came without."""

    header = "authorization"

    def ready(self, principal: Principal) -> bytes:
        """See ``ServiceCredentials.ready``."""
        if principal.token is None:
            return b""
        return f"authorization: {principal.token_type} {principal.token}\r\n".encode("ascii")

    async def obtain(self, principal: Principal) -> bytes:
        """See ``ServiceCredentials.obtain``."""
        return self.ready(principal)

    async def aclose(self) -> None:
        """Nothing is held."""


class SignedPrincipal:
    """``X-Principal``: a JWT (RFC 7519, HS256) for ``audience`` by the gateway ``issuer``, good for ``lifetime``
    seconds, with ``sub``, ``kind``, ``scope``, and ``tenant`` and ``sub_iss`` (the subject's own issuer) if known.

    Whoever has the key can make such headers, so every service should have a key of its own.
    """

    header = PRINCIPAL_HEADER

    def __init__(
        self,
        key: str,
        *,
        issuer: str,
        audience: str,
        lifetime: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._key = OctKey.import_key(key.encode())
        self._issuer, self._audience = issuer, audience
        self._lifetime = lifetime
        self._clock = clock
        self._made: ExpiringMap[bytes] = ExpiringMap(MAX_KEPT)

    def ready(self, principal: Principal) -> bytes:
        """See ``ServiceCredentials.ready``. Signed anew when half of its time is over."""
        now = self._clock()
        block = self._made.get(principal.whose, now)
        if block is None:
            block = f"{PRINCIPAL_HEADER}: {self._sign(principal, int(now))}\r\n".encode("ascii")
            self._made.put(principal.whose, block, now + self._lifetime / 2)
        return block

    async def obtain(self, principal: Principal) -> bytes:
        """See ``ServiceCredentials.obtain``."""
        return self.ready(principal)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _sign(self, principal: Principal, now: int) -> str:
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "iat": now,
            "exp": now + int(self._lifetime),
            "sub": principal.subject,
            "kind": principal.kind,
            "scope": " ".join(sorted(principal.scopes)),
            "tenant": principal.tenant,
            "sub_iss": principal.issuer,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, told, self._key)
