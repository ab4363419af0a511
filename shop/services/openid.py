"""The demo's OpenID Provider: signs a seeded user in at the web gateway. It asks for no password, so it is for this
machine only; what it does of OpenID Connect it does strictly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode

from fastapi import FastAPI, Request
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from ..models import User
from ..ports import PORTS
from .grants import Grant, Grants
from .problems import Problem
from .sign_in_page import page, policy

__all__ = ["Demo", "OpenIdProvider"]

NO_STORE = {"cache-control": "no-store", "referrer-policy": "same-origin", "x-content-type-options": "nosniff"}
TOKEN_LASTS = 600
CHALLENGE = 43
MAX_FORM = 16 * 1024
PKCE = ("code_challenge", "code_challenge_method")
KEPT = ("client_id", "redirect_uri", "response_type", "scope", "state", "nonce", *PKCE)


@dataclass(frozen=True, slots=True)
class Demo:
    """Where the provider and its one client are, as browsers see them, and what only these two know."""

    issuer: str
    web: str
    secret: str
    client_id: str = "web"

    @classmethod
    def from_environment(cls) -> Self:
        """From ``SHOP_IDENTITY_URL``, ``SHOP_WEB_URL`` and ``SHOP_WEB_SECRET``, which are those of the demo."""
        return cls(
            os.environ.get("SHOP_IDENTITY_URL", f"http://127.0.0.1:{PORTS['identity']}"),
            os.environ.get("SHOP_WEB_URL", "http://127.0.0.1:8002"),
            os.environ.get("SHOP_WEB_SECRET", "of-the-demo-and-no-secret"),
        )


class OpenIdProvider:
    """The routes of the provider. ``people`` are those who can sign in, ``access_token`` makes one's access token."""

    def __init__(
        self,
        demo: Demo,
        key: RSAKey,
        people: Callable[[], list[User]],
        access_token: Callable[[User, int], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._demo = demo
        self._key = key
        self._people = people
        self._access_token = access_token
        self._clock = clock
        self._grants = Grants(clock)

    def mount(self, app: FastAPI) -> None:
        """Serve it."""
        app.add_api_route("/.well-known/openid-configuration", self.configuration, tags=["openid"])
        app.add_api_route("/authorize", self.ask, tags=["openid"], response_class=HTMLResponse)
        app.add_api_route("/authorize", self.sign_in, methods=["POST"], tags=["openid"], response_class=HTMLResponse)
        app.add_api_route("/oauth/token", self.token, methods=["POST"], tags=["openid"])
        app.add_api_route("/oauth/revoke", self.revoke, methods=["POST"], tags=["openid"])
        app.add_api_route("/end_session", self.end_session, tags=["openid"], response_class=HTMLResponse)

    async def configuration(self) -> dict[str, Any]:
        """What the provider says of itself (OpenID Connect Discovery 1.0)."""
        issuer = self._demo.issuer
        return {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/oauth/token",
            "revocation_endpoint": f"{issuer}/oauth/revoke",
            "end_session_endpoint": f"{issuer}/end_session",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "scopes_supported": ["openid", "profile", "offline_access"],
        }

    async def ask(self, request: Request) -> Response:
        """The form on which a user says who they are."""
        asked = _once(request.query_params.multi_items())
        if refused := self._refusal(asked):
            return refused
        if "none" in asked.get("prompt", "").split():
            return self._back(asked, error="login_required")
        kept = {name: asked[name] for name in KEPT if name in asked}
        body = page(kept, self._people())
        return HTMLResponse(body, headers={**NO_STORE, "content-security-policy": policy(self._demo.web)})

    async def sign_in(self, request: Request) -> Response:
        """Sends the browser back with a code for who was chosen."""
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Problem(403, "Another site has sent this form.")
        asked = await _form(request)
        if refused := self._refusal(asked):
            return refused
        user = next((person for person in self._people() if person.id == asked.get("user")), None)
        if user is None:
            return self._back(asked, error="access_denied")
        scope, nonce, challenge = asked["scope"], asked.get("nonce"), asked["code_challenge"]
        now = int(self._clock())
        grant = Grant(asked["client_id"], asked["redirect_uri"], user.id, scope, nonce, challenge, now)
        return self._back(asked, code=self._grants.code(grant))

    async def token(self, request: Request) -> Response:
        """Tokens for a code or a refresh token (RFC 6749 sections 4.1.3 and 6)."""
        form = await _form(request)
        if (wrong := self._client_refusal(request)) is not None:
            return wrong
        client, kind = self._demo.client_id, form.get("grant_type")
        if kind == "authorization_code":
            told = [form.get(name, "") for name in ("code", "redirect_uri", "code_verifier")]
            given = self._grants.redeem(told[0], client, *told[1:])
        elif kind == "refresh_token":
            given = self._grants.renew(form.get("refresh_token", ""), client)
        else:
            return _error(400, "unsupported_grant_type")
        user = given and next((person for person in self._people() if person.id == given[0].user_id), None)
        if given is None or not user:
            return _error(400, "invalid_grant")
        grant, refresh = given
        access = self._access_token(user, TOKEN_LASTS)
        answer: dict[str, Any] = {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": TOKEN_LASTS,
            "scope": grant.scope,
            "id_token": self._id_token(grant, user, access, first=kind == "authorization_code"),
        }
        if "offline_access" in grant.scope.split():
            answer["refresh_token"] = refresh
        return JSONResponse(answer, headers=NO_STORE)

    async def revoke(self, request: Request) -> Response:
        """Takes a refresh token back (RFC 7009); one that is not known is gone already."""
        form = await _form(request)
        if (wrong := self._client_refusal(request)) is not None:
            return wrong
        self._grants.revoke(form.get("token", ""), self._demo.client_id)
        return Response(headers=NO_STORE)

    async def end_session(self, request: Request) -> Response:
        """Sends the browser back (RP-Initiated Logout 1.0). There is no session here that could end."""
        asked = _once(request.query_params.multi_items())
        if asked.get("client_id") != self._demo.client_id:
            raise Problem(400, "There is no such client.")
        if asked.get("post_logout_redirect_uri") != f"{self._demo.web}/":
            raise Problem(400, "This is no address to go back to.")
        state = f"?{urlencode({'state': asked['state']})}" if "state" in asked else ""
        return RedirectResponse(f"{self._demo.web}/{state}", 303, headers=NO_STORE)

    def _refusal(self, asked: Mapping[str, str]) -> Response | None:
        """The answer to a request that is not in order. Who sent it is only told at an address that is known."""
        if asked.get("client_id") != self._demo.client_id:
            raise Problem(400, "There is no such client.")
        if asked.get("redirect_uri") != f"{self._demo.web}/auth/callback":
            raise Problem(400, "This is no address to go back to.")
        if asked.get("response_type") != "code":
            return self._back(asked, error="unsupported_response_type")
        if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != CHALLENGE:
            return self._back(asked, error="invalid_request", error_description="PKCE with S256 is required")
        if "openid" not in asked.get("scope", "").split():
            return self._back(asked, error="invalid_scope")
        return None

    def _back(self, asked: Mapping[str, str], **answer: str) -> Response:
        answer |= {"iss": self._demo.issuer} | ({"state": asked["state"]} if "state" in asked else {})
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 303, headers=NO_STORE)

    def _client_refusal(self, request: Request) -> Response | None:
        """HTTP Basic, both parts form-urlencoded before they are joined (RFC 6749 section 2.3.1)."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(value, validate=True).decode("ascii").partition(":")
        except ValueError:
            name = secret = ""
        found, known = f"{unquote_plus(name)}:{unquote_plus(secret)}", f"{self._demo.client_id}:{self._demo.secret}"
        if scheme.lower() == "basic" and hmac.compare_digest(found.encode(), known.encode()):
            return None
        return _error(401, "invalid_client", {"www-authenticate": 'Basic realm="shop"'})

    def _id_token(self, grant: Grant, user: User, access: str, *, first: bool) -> str:
        now = int(self._clock())
        half = hashlib.sha256(access.encode()).digest()[:16]
        claims: dict[str, Any] = {
            "iss": self._demo.issuer,
            "aud": grant.client_id,
            "sub": user.id,
            "iat": now,
            "exp": now + TOKEN_LASTS,
            "auth_time": grant.at,
            "at_hash": base64.urlsafe_b64encode(half).rstrip(b"=").decode(),
        }
        if first and grant.nonce is not None:
            claims["nonce"] = grant.nonce
        if "profile" in grant.scope.split():
            claims["name"] = user.name
        return jwt.encode({"alg": "RS256", "kid": self._key.kid, "typ": "JWT"}, claims, self._key)


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Each parameter, of which none may come twice (RFC 6749 section 3.1)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem(400, "A parameter comes twice.")
    return found


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise Problem(415, "A form is expected.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM:
            raise Problem(413, "The form is too long.")
    try:
        return _once(parse_qsl(body.decode(), keep_blank_values=True))
    except UnicodeDecodeError:
        raise Problem(400, "The form is not UTF-8.") from None


def _error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": code}, status, headers={**NO_STORE, **(headers or {})})
