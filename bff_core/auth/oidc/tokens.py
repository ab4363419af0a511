"""ID tokens (OpenID Connect Core 1.0) and logout tokens (Back-Channel Logout 1.0), verified."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc.jwa import JWSAlgModel
from joserfc.jws import JWSRegistry

from ...errors import DeclarationError
from ..bearer import ASYMMETRIC
from ..jwks import JwksCache, check_signature
from ..jwt import BadToken, Expected, Token, read_token

__all__ = ["LogoutToken", "TokenVerifier"]

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_HASHES: dict[str, Callable[[bytes], Any]] = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Whom the provider signs out: a session of its (``sid``), or all of a user's (``subject``). ``until`` is the
    instant up to which it must not be taken a second time."""

    token_id: str
    subject: str | None
    sid: str | None
    until: float


class TokenVerifier:
    """Verifies what ``issuer`` signed for ``client_id``; ``leeway`` in seconds."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        algorithms: Sequence[str],
        *,
        leeway: float,
        clock: Callable[[], float],
    ) -> None:
        if not algorithms or not ASYMMETRIC.issuperset(algorithms):
            raise DeclarationError(f"OidcSessions(algorithms=...) takes of {', '.join(sorted(ASYMMETRIC))}")
        self._algorithms: dict[str, JWSAlgModel] = {name: JWSRegistry.algorithms[name] for name in algorithms}
        self._expected = Expected(issuer, frozenset([client_id]), ("iat",), None, leeway)
        self._client_id = client_id
        self._leeway = leeway
        self._clock = clock

    async def signed_in(
        self,
        text: str,
        jwks: JwksCache,
        *,
        nonce: str,
        access: str,
        max_age: int | None,
        acr_values: Sequence[str],
    ) -> dict[str, Any]:
        """The claims of the ID token of a sign-in (Core section 3.1.3.7); raises ``BadToken``.

        ``access`` is the access token that came with it; ``max_age`` (seconds) and ``acr_values`` were asked for.
        """
        token = await self._verify(text, jwks)
        claims = token.claims
        found = claims.get("nonce")
        if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
            raise BadToken("nonce")
        if "at_hash" in claims and claims["at_hash"] != _half_hash(token.alg, access):
            raise BadToken("at_hash")
        if max_age is not None and not self._is_recent(claims.get("auth_time"), max_age):
            raise BadToken("auth_time")
        if acr_values and claims.get("acr") not in acr_values:
            raise BadToken("acr")
        return claims

    async def renewed(self, text: str, jwks: JwksCache, *, subject: str) -> dict[str, Any]:
        """The claims of an ID token that came with renewed tokens (Core section 12.2); raises ``BadToken``."""
        token = await self._verify(text, jwks)
        if token.claims["sub"] != subject:
            raise BadToken("sub")
        return token.claims

    async def signed_out(self, text: str, jwks: JwksCache) -> LogoutToken:
        """A logout token (Back-Channel Logout section 2.6); raises ``BadToken``."""
        token = read_token(text.encode(errors="replace"))
        claims = token.claims
        subject, sid, token_id = claims.get("sub"), claims.get("sid"), claims.get("jti")
        # It may have no sub, which other tokens must have.
        standing = Token(token.alg, token.kid, token.typ, {"sub": "-", **claims}, token.signed, token.signature)
        until = self._expected.check(standing, self._clock())
        if _media_type(token.typ) not in (None, "jwt", "logout+jwt"):
            raise BadToken("wrong_type")
        events = claims.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
            raise BadToken("events")
        if "nonce" in claims:
            raise BadToken("nonce")  # an ID token in disguise
        if not isinstance(token_id, str) or not token_id or not isinstance(sid, str | None) or not (subject or sid):
            raise BadToken("claim_missing")
        await check_signature(token, self._algorithms.get(token.alg), jwks)
        return LogoutToken(token_id, subject, sid, until)

    async def _verify(self, text: str, jwks: JwksCache) -> Token:
        token = read_token(text.encode(errors="replace"))
        self._expected.check(token, self._clock())
        if _media_type(token.typ) not in (None, "jwt"):
            raise BadToken("wrong_type")  # RFC 8725 section 3.11: an access or logout token is no ID token
        several = isinstance(token.claims["aud"], list) and len(token.claims["aud"]) > 1
        if ("azp" in token.claims or several) and token.claims.get("azp") != self._client_id:
            raise BadToken("azp")
        await check_signature(token, self._algorithms.get(token.alg), jwks)
        return token

    def _is_recent(self, auth_time: Any, max_age: int) -> bool:
        number = isinstance(auth_time, int | float) and not isinstance(auth_time, bool)
        return number and self._clock() - auth_time <= max_age + self._leeway


def _half_hash(alg: str, access: str) -> str:
    """The left half of the access token's hash (Core section 3.1.3.6); that of EdDSA is SHA-512."""
    digest = _HASHES.get(alg[-3:], hashlib.sha512)(access.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def _media_type(typ: str | None) -> str | None:
    return None if typ is None else typ.lower().removeprefix("application/")
