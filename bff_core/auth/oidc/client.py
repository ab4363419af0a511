"""The gateway as a confidential client of its provider (RFC 6749, RFC 7523, RFC 9126, RFC 7009)."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlencode

import structlog
from joserfc import jwt

from ...errors import DeclarationError, ServiceError
from ..ask import Asked
from ..dpop import NONCE_WANTED, ProofKey, nonce_of
from ..sessions import Tokens
from ..signing_key import read_signing_key
from .discovery import Discovery, Provider, no_sign_in

__all__ = ["Client", "Denied"]

log = structlog.get_logger("bff.auth")
TIMEOUT = 10.0
REVOKE_TIMEOUT = 2.0
NO_PROOF = frozenset({NONCE_WANTED, "invalid_dpop_proof"})
PASSING = frozenset({"server_error", "temporarily_unavailable", "slow_down"})
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_LASTS = 60
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")  # b64token, RFC 6750 section 2.1
_OPAQUE = re.compile(r"[\x20-\x7e]{1,8192}")
_CODE = re.compile(r"[a-z_]{1,40}")


class Denied(Exception):
    """The provider says no; the message is its error code (RFC 6749 section 5.2)."""


class Client:
    """``client_id`` at the provider of ``discovery``, with a secret (sent as the provider likes it) or with ``key``, a
    private key as PEM or JWK by which it signs assertions (``private_key_jwt``). Access tokens are bound to the key of
    ``proofs``, if there is one (RFC 9449). Raises ``DeclarationError``."""

    def __init__(
        self,
        discovery: Discovery,
        client_id: str,
        *,
        secret: str | None,
        key: str | None,
        clock: Callable[[], float],
        proofs: ProofKey | None = None,
    ) -> None:
        if (secret is None) == (key is None):
            raise DeclarationError("OidcSessions needs either client_secret, or client_key")
        self.id = client_id
        self._discovery = discovery
        self._secret = secret or ""
        self._key = None if key is None else read_signing_key(key, "OidcSessions(client_key=...)")
        self._clock = clock
        self._proofs = proofs
        self._nonce: str | None = None

    @property
    def proof_key(self) -> str | None:
        """The thumbprint of the key that access tokens are bound to; None for bearer tokens."""
        return None if self._proofs is None else self._proofs.thumbprint

    async def push(self, provider: Provider, endpoint: Asked, request: dict[str, str]) -> str:
        """The ``request_uri`` of a pushed authorization request (RFC 9126). Raises a 503 problem."""
        try:
            answer = await self._post(provider, endpoint, request)
        except Denied as denied:
            log.error("oidc.par_refused", reason=str(denied))
            raise no_sign_in() from None
        uri = answer.get("request_uri")
        if not isinstance(uri, str) or not _OPAQUE.fullmatch(uri):
            log.error("oidc.par_refused", reason="no request_uri")
            raise no_sign_in()
        return uri

    async def redeem(self, code: str, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for an authorization code. Raises ``Denied``, and a 503 problem when nobody answers."""
        provider = await self._discovery.provider()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return await self._ask_for_tokens(provider, {**form, "code_verifier": verifier})

    async def renew(self, refresh: str) -> Tokens:
        """New tokens for a refresh token. Raises as ``redeem``."""
        provider = await self._discovery.provider()
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        return await self._ask_for_tokens(provider, form)

    async def revoke(self, refresh: str) -> None:
        """Give a refresh token back, if the provider can be told (RFC 7009)."""
        try:
            provider = await self._discovery.provider()
            if provider.revocation is not None:
                form = {"token": refresh, "token_type_hint": "refresh_token"}
                await self._post(provider, provider.revocation, form, REVOKE_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - whoever signs out is signed out
            log.warning("oidc.revocation_failed", reason=type(error).__name__)

    async def _ask_for_tokens(self, provider: Provider, form: dict[str, str]) -> Tokens:
        """Proves that it has the key, too, if tokens are to be bound; a provider that wants a nonce in that says which
        (RFC 9449 section 8), and is asked once more."""
        if self._proofs is None:
            return _tokens(await self._post(provider, provider.token, form), None)
        # Both together take no longer than one does without proofs: whoever renews has a lease for that.
        until = time.monotonic() + TIMEOUT
        for again in (True, False):
            proof = self._proofs.header("POST", provider.token.url, self._nonce)
            try:
                left = max(0.0, until - time.monotonic())
                document = await self._post(provider, provider.token, form, left, proof=proof)
                return _tokens(document, self._proofs.thumbprint)
            except Denied as denied:
                if str(denied) not in NO_PROOF:
                    raise
                if not again or str(denied) != NONCE_WANTED:
                    log.error("oidc.proof_refused", reason=str(denied))
                    break
        raise no_sign_in()  # the proof was refused, which says nothing about the grant

    async def _post(
        self,
        provider: Provider,
        endpoint: Asked,
        form: dict[str, str],
        timeout: float = TIMEOUT,
        *,
        proof: bytes = b"",
    ) -> dict[str, Any]:
        credentials, header = self._credentials(provider)
        headers = header + proof + b"content-type: application/x-www-form-urlencoded\r\naccept: application/json\r\n"
        try:
            response = await endpoint.ask("POST", headers, urlencode({**form, **credentials}).encode(), timeout)
        except ServiceError as error:
            log.warning("oidc.provider_failed", reason=error.kind)
            raise no_sign_in() from None
        if proof:
            self._nonce = nonce_of(response, endpoint.url) or self._nonce
        document = _object(response.body)
        if response.status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return document
        code = document.get("error")
        reason = code if isinstance(code, str) and _CODE.fullmatch(code) else f"status {response.status}"
        # Whatever the status: some say 401 or 403.
        if reason == "invalid_grant" or (proof and reason == NONCE_WANTED):
            raise Denied(reason)
        if response.status == HTTPStatus.BAD_REQUEST and reason != "invalid_client" and reason not in PASSING:
            raise Denied(reason)
        log.error("oidc.provider_failed", reason=reason)
        raise no_sign_in()

    def _credentials(self, provider: Provider) -> tuple[dict[str, str], bytes]:
        """Further members of the form, and a header."""
        if self._key is not None:
            return {
                "client_id": self.id,
                "client_assertion_type": ASSERTION,
                "client_assertion": self._assertion(),
            }, b""
        if "client_secret_basic" not in provider.auth_methods and "client_secret_post" in provider.auth_methods:
            return {"client_id": self.id, "client_secret": self._secret}, b""
        # RFC 6749 section 2.3.1: both are form-urlencoded before they are joined.
        basic = base64.b64encode(f"{quote_plus(self.id)}:{quote_plus(self._secret)}".encode())
        return {}, b"authorization: Basic " + basic + b"\r\n"

    def _assertion(self) -> str:
        assert self._key is not None  # noqa: S101 - asked for by _credentials alone
        key, algorithm = self._key
        now = int(self._clock())
        header = {"alg": algorithm, "typ": "JWT"}
        if key.kid:
            header["kid"] = key.kid
        claims = {
            "iss": self.id,
            "sub": self.id,
            "aud": self._discovery.issuer,
            "iat": now,
            "exp": now + ASSERTION_LASTS,
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode(header, claims, key, algorithms=[algorithm])


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _tokens(document: dict[str, Any], key: str | None) -> Tokens:
    """Bound to the key with the thumbprint ``key``, if there is one. Raises a 503 problem: that is no answer of a token
    endpoint, or not of one that binds tokens."""
    access, lasts, scope = document.get("access_token"), document.get("expires_in"), document.get("scope")
    refresh, identity = document.get("refresh_token"), document.get("id_token")
    number = isinstance(lasts, int | float) and not isinstance(lasts, bool)
    if (
        not isinstance(access, str)
        or not _TOKEN.fullmatch(access)
        or str(document.get("token_type", "")).lower() != ("bearer" if key is None else "dpop")
        or not (refresh is None or (isinstance(refresh, str) and _OPAQUE.fullmatch(refresh)))
        or not isinstance(identity, str | None)
        or not (lasts is None or number)
    ):
        log.error("oidc.provider_failed", reason="no usable tokens in the answer")
        raise no_sign_in()
    scopes = frozenset(scope.split()) if isinstance(scope, str) else None
    return Tokens(access, float(lasts) if lasts is not None else None, refresh, identity, scopes, key)
