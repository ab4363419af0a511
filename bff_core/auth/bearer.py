"""Bearer tokens (RFC 6750): signed JWTs (RFC 7519, RFC 9068), verified with the keys their issuer publishes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import httpx
from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry
from starlette.types import Scope

from ..context import Principal
from ..errors import DeclarationError, Refused
from .ask import Asked
from .expiring import ExpiringMap
from .jwks import JwksCache, check_signature
from .jwt import BadToken, Expected, Token, read_token
from .tenant import tenant_of

__all__ = ["BearerJwt", "bearer_token"]

MAX_KEPT = 4096
LONGEST_TRUST = 300.0
ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"}
)
NOT_OURS = frozenset({"not_a_jwt", "wrong_issuer"})


def bearer_token(scope: Scope) -> bytes | None:
    """What stands behind ``Authorization: Bearer``, None when there is no such credential.

    Raises ``Refused`` when there are several ``Authorization`` headers.
    """
    found = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if found is not None:
                raise Refused(401, "duplicate_credentials")
            found = value
    if found is None or found[:7].lower() != b"bearer ":
        return None
    token: bytes = found[7:].strip()
    return token or None


class BearerJwt:
    """Authenticates by ``Authorization: Bearer``. A verified token is remembered until it expires, for five minutes at
    the most, and no longer than the issuer publishes the same keys.

    Trusted are the tokens of ``issuer`` for one of ``audience``, signed by a key published at ``jwks_url`` with one of
    ``algorithms`` (no symmetric ones: what is published is no secret). Besides ``iss``, ``aud``, ``exp`` and ``sub``
    they must have the claims in ``required``; what is bound to a key (``cnf``, RFC 7800) is not for bearers, and
    refused. ``typ="at+jwt"`` wants access tokens as of RFC 9068. Clocks may differ by ``leeway`` seconds. The
    principal's scopes come from the claim ``scope_claim`` (words or a list), its tenant from ``tenant_claim`` (at most
    255 printable characters without ``|``).
    """

    challenge = "Bearer"
    by_request = False

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Sequence[str],
        jwks_url: str,
        algorithms: Sequence[str] = ("RS256",),
        required: Sequence[str] = (),
        typ: str | None = None,
        tenant_claim: str = "tenant",
        scope_claim: str = "scope",
        leeway: float = 30,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not algorithms or not ASYMMETRIC.issuperset(algorithms):
            raise DeclarationError(f"BearerJwt(algorithms=...) takes of {', '.join(sorted(ASYMMETRIC))}")
        if not issuer or not audience:
            raise DeclarationError("BearerJwt needs an issuer and an audience: a token for anybody is for nobody")
        audiences = frozenset([audience] if isinstance(audience, str) else audience)
        self._algorithms: dict[str, JWSAlgModel] = {name: JWSRegistry.algorithms[name] for name in algorithms}
        self._expected = Expected(issuer, audiences, tuple(required), typ.lower() if typ else None, leeway)
        self._tenant_claim, self._scope_claim = tenant_claim, scope_claim
        self._clock = clock
        self._verified: ExpiringMap[Principal] = ExpiringMap(MAX_KEPT)
        try:
            asked = Asked(jwks_url, transport)
        except ValueError as error:
            raise DeclarationError(f"BearerJwt(jwks_url=...): {error}") from None
        self._jwks = JwksCache(asked, self._verified.clear)
        self.scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        token = bearer_token(scope)
        if token is None:
            return None
        digest = hashlib.sha256(token).digest()
        known = self._verified.get(digest, self._clock())
        if known is not None:
            return known
        try:
            principal, until = await self._verify(token)
        except BadToken as bad:
            reason = str(bad)
            raise Refused(401, reason, challenge='Bearer error="invalid_token"', foreign=reason in NOT_OURS) from None
        self._verified.put(digest, principal, min(until, self._clock() + LONGEST_TRUST))
        return principal

    async def aclose(self) -> None:
        """Close the connection to the issuer."""
        await self._jwks.aclose()

    async def _verify(self, text: bytes) -> tuple[Principal, float]:
        """Whose token it is, and until when; raises ``BadToken``.

        Its claims come first: what they rule out costs neither a signature nor a look at the issuer's keys.
        """
        token = read_token(text)
        until = self._expected.check(token, self._clock())
        algorithm = self._algorithms.get(token.alg)
        if algorithm is None:
            raise BadToken("algorithm")
        if "cnf" in token.claims:
            raise BadToken("bound")  # to a key that a bearer does not show (RFC 9449 section 7.1, RFC 8705 section 3)
        principal = self._principal(token, text.decode("ascii"))
        await check_signature(token, algorithm, self._jwks)
        return principal, until

    def _principal(self, token: Token, text: str) -> Principal:
        claims = token.claims
        try:
            tenant = tenant_of(claims.get(self._tenant_claim))
        except ValueError:
            raise BadToken("claim_type") from None
        return Principal(
            subject=claims["sub"],
            scopes=_scopes(claims.get(self._scope_claim, "")),
            tenant=tenant,
            claims=MappingProxyType(claims),
            issuer=claims["iss"],
            token=text,
        )


def _scopes(value: Any) -> frozenset[str]:
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadToken("claim_type")
    return frozenset(filter(None, words))
