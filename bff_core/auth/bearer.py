"""Bearer tokens: signed JWTs (RFC 7519, RFC 9068), verified with the keys their issuer publishes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError

from ..context import Principal
from ..wire import HttpxWire
from .jwks import JwksCache

__all__ = ["BearerJwt"]

MAX_TOKEN = 8192
MAX_CACHED = 4096


class BearerJwt:
    """Authenticates by ``Authorization: Bearer``. A verified token is remembered until it expires.

    Trusted are the tokens of ``issuer`` for ``audience``, signed by a key published at ``jwks_url`` with one of
    ``algorithms``; clocks may differ by ``leeway`` seconds.
    """

    challenge = "Bearer"

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        jwks_url: str,
        algorithms: Sequence[str] = ("RS256",),
        leeway: int = 30,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._algorithms = list(algorithms)
        url = httpx.URL(jwks_url)
        origin = f"{url.scheme}://{url.netloc.decode()}"
        transport = transport or httpx.AsyncHTTPTransport()
        self._wire = HttpxWire(origin, transport, connect_timeout=1.0, max_body=1024 * 1024)
        self._jwks = JwksCache(self._wire, url.raw_path.decode())
        self._claims = jwt.JWTClaimsRegistry(
            leeway=leeway,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        self._verified: dict[bytes, tuple[float, Principal]] = {}
        self.scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

    async def authenticate(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """The user whose token the request bears."""
        given = [value for name, value in headers if name == b"authorization"]
        if len(given) != 1 or given[0][:7].lower() != b"bearer ":
            return None
        token = given[0][7:].strip()
        if not token or len(token) > MAX_TOKEN:
            return None
        known = self._verified.get(token)
        if known is not None:
            if known[0] > time.time():
                return known[1]
            del self._verified[token]
        claims = await self._verify(token)
        if claims is None:
            return None
        principal = _principal(claims)
        if len(self._verified) >= MAX_CACHED:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = (float(claims["exp"]), principal)
        return principal

    async def aclose(self) -> None:
        """Close the connection to the issuer."""
        await self._wire.aclose()

    async def _verify(self, token: bytes) -> dict[str, Any] | None:
        """The claims of a token that is valid now, else None."""
        keys = await self._jwks.keys()
        for fresh in (False, True):
            try:
                decoded = jwt.decode(token.decode("ascii"), keys, algorithms=self._algorithms)
                self._claims.validate(decoded.claims)
            except (JoseError, ValueError, KeyError, TypeError) as error:
                # The issuer may have rotated its keys: one look at the new ones, no more often than the cool-down.
                if fresh or not (isinstance(error, ValueError) or "key" in type(error).__name__.lower()):
                    return None
                newer = await self._jwks.keys(newer_than=keys)
                if newer is keys:
                    return None
                keys = newer
            else:
                return dict(decoded.claims)
        return None


def _principal(claims: dict[str, Any]) -> Principal:
    scope = claims.get("scope", "")
    tenant = claims.get("tenant")
    return Principal(
        subject=str(claims["sub"]),
        scopes=frozenset(scope.split()) if isinstance(scope, str) else frozenset(),
        tenant=tenant if isinstance(tenant, str) else None,
        claims=claims,
    )
