"""Signing in: the authorization code flow with PKCE, from the first redirect to the session (OpenID Connect Core 1.0,
RFC 7636, RFC 9207, RFC 9700)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import structlog

from ...errors import Problem
from ..jwt import BadToken
from ..sessions import Sealer, Session, Tokens, Vault, new_id
from ..tenant import tenant_of
from .client import Client, Denied
from .discovery import Discovery, Provider
from .tokens import TokenVerifier

__all__ = ["Begun", "SignIn"]

log = structlog.get_logger("bff.security")
LASTS = 600
PROTOCOL_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "azp", "exp", "iat", "nbf", "jti"})


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that was begun: what its end must fit. Kept sealed in the browser that began it."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    return_to: str
    max_age: int | None
    acr_values: tuple[str, ...]
    at: float


class SignIn:
    """``scopes`` are asked for; ``parameters`` go with every authorization request. A session lasts ``lasts`` seconds
    at the most; its tenant is the claim ``tenant_claim``. ``keep_identity`` keeps ID tokens."""

    def __init__(
        self,
        discovery: Discovery,
        client: Client,
        verifier: TokenVerifier,
        sealer: Sealer,
        vault: Vault,
        *,
        redirect_uri: str,
        scopes: Sequence[str],
        parameters: Mapping[str, str],
        lasts: float,
        tenant_claim: str,
        keep_identity: bool,
        clock: Callable[[], float],
    ) -> None:
        self._discovery = discovery
        self._client = client
        self._verifier = verifier
        self._sealer = sealer
        self._vault = vault
        self._redirect_uri = redirect_uri
        self._scopes = scopes
        self._parameters = dict(parameters)
        self._lasts = lasts
        self._tenant_claim = tenant_claim
        self._keep_identity = keep_identity
        self._clock = clock

    async def begin(
        self, return_to: str, *, max_age: int | None, acr_values: tuple[str, ...], prompt: str | None
    ) -> tuple[str, str, str]:
        """Where to send the browser, the sign-in's state, and what the browser keeps meanwhile. Raises a 503 problem
        when the provider cannot be asked."""
        provider = await self._discovery.provider()
        begun = Begun(new_id(), new_id(), new_id(), return_to, max_age, acr_values, self._clock())
        challenge = hashlib.sha256(begun.verifier.encode()).digest()
        request = {
            "client_id": self._client.id,
            "response_type": "code",
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(self._scopes),
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **self._parameters,
        }
        if self._client.proof_key is not None:
            request["dpop_jkt"] = self._client.proof_key  # the code is bound as well (RFC 9449 section 10)
        if max_age is not None:
            request["max_age"] = str(max_age)
        if acr_values:
            request["acr_values"] = " ".join(acr_values)
        if prompt is not None:
            request["prompt"] = prompt
        if provider.par is not None:
            uri = await self._client.push(provider, provider.par, request)
            request = {"client_id": self._client.id, "request_uri": uri}
        mark = "&" if "?" in provider.authorization else "?"
        sealed = self._sealer.seal("login:" + begun.state, json.dumps(asdict(begun)).encode())
        return (
            f"{provider.authorization}{mark}{urlencode(request)}",
            begun.state,
            base64.urlsafe_b64encode(sealed).decode(),
        )

    def begun(self, state: str, kept: str | None) -> Begun:
        """The sign-in ``state``, from what the browser kept. Raises a 400 problem when it is another browser's, or was
        begun too long ago."""
        try:
            plain = self._sealer.open("login:" + state, base64.urlsafe_b64decode(kept or ""))
        except ValueError:
            plain = None
        if plain is None:
            raise refused("state")
        values = json.loads(plain)
        begun = Begun(**{**values, "acr_values": tuple(values["acr_values"])})
        if not hmac.compare_digest(begun.state.encode(), state.encode(errors="replace")):
            raise refused("state")
        if not 0 <= self._clock() - begun.at <= LASTS:
            raise refused("too_late")
        return begun

    async def finish(self, begun: Begun, answer: Mapping[str, str]) -> str:
        """The identifier of the new session. ``answer`` is what the provider sent back with the browser. Raises a 400
        problem when it is not to be trusted, and a 503 problem when that cannot be told now, ``StoreUnavailable``."""
        provider = await self._discovery.provider()
        issuer = answer.get("iss")
        if issuer != self._discovery.issuer and (issuer is not None or provider.names_itself):
            raise refused("issuer")  # another provider's answer (mix-up, RFC 9207 section 2.4)
        if not await self._vault.store.swap("used:" + begun.state, None, b"1", LASTS + 60):
            raise refused("replayed")
        if "error" in answer or not answer.get("code"):
            raise refused("provider", "The provider did not sign you in.")
        try:
            tokens = await self._client.redeem(answer["code"], begun.verifier, self._redirect_uri)
        except Denied as denied:
            log.warning("security", kind="sign_in_failed", reason="code", error=str(denied))
            raise refused("code") from None
        return await self._enter(provider, begun, tokens)

    async def _enter(self, provider: Provider, begun: Begun, tokens: Tokens) -> str:
        try:
            claims = await self._verifier.signed_in(
                tokens.identity or "",
                provider.jwks,
                nonce=begun.nonce,
                access=tokens.access,
                max_age=begun.max_age,
                acr_values=begun.acr_values,
            )
        except BadToken as bad:
            raise refused(f"id_token_{bad}") from None
        sid = claims.get("sid")
        session = Session.begin(
            {name: value for name, value in claims.items() if name not in PROTOCOL_CLAIMS},
            self._kept(tokens),
            frozenset(self._scopes),
            self._tenant(claims),
            self._lasts,
            self._clock(),
        )
        return await self._vault.create(session, sid if isinstance(sid, str) else None)

    async def renew(self, refresh: str, session: Session) -> tuple[Tokens, dict[str, Any] | None]:
        """New tokens of a session, and the claims of a new ID token if one came. Raises ``Denied`` when there will be
        none, and a 503 problem when that cannot be told now."""
        tokens = await self._client.renew(refresh)
        if tokens.identity is None:
            return tokens, None
        provider = await self._discovery.provider()
        try:
            claims = await self._verifier.renewed(tokens.identity, provider.jwks, subject=session.principal.subject)
        except BadToken as bad:
            raise Denied(f"id_token_{bad}") from None
        except Problem:
            # Nobody can tell now; but the refresh token that was used is gone, and the new one must not be lost.
            log.warning("oidc.renewed_unverified", subject=session.principal.subject)
            return replace(tokens, identity=None), None
        return self._kept(tokens), {name: value for name, value in claims.items() if name not in PROTOCOL_CLAIMS}

    def _kept(self, tokens: Tokens) -> Tokens:
        if self._keep_identity:
            return tokens
        return replace(tokens, identity=None)

    def _tenant(self, claims: dict[str, Any]) -> str | None:
        try:
            return tenant_of(claims.get(self._tenant_claim))
        except ValueError:
            raise refused("id_token_claim_type") from None


def refused(reason: str, detail: str = "This sign-in cannot be completed; begin again.") -> Problem:
    """A sign-in that ends here; the log says why."""
    log.warning("security", kind="sign_in_failed", reason=reason)
    return Problem(
        400, detail, title="You are not signed in", type_="urn:problem-type:bff:sign-in-failed", login="/auth/login"
    )
