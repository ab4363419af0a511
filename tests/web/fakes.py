"""A provider that can be told to misbehave, a gateway behind it, and a browser, all in this process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import BaseModel

from bff_core import (
    Bff,
    OidcSessions,
    Page,
    Principal,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    required,
    section,
    step_up,
)
from bff_core.stores import KeyValueStore, MemoryKeyValueStore

ISSUER, CLIENT_ID, SECRET, SITE = "https://id.test", "web", "s3cr3t & more", "https://shop.test"
KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "k1"})
OTHER_KEY = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": "k1"})
SESSION_KEYS = ["a key of thirty-two characters or more"]
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
START = 1_800_000_000.0


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Provider:
    """Signs in whoever comes; rotates refresh tokens, and ends a grant of which one is used twice."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/jwks",
            "revocation_endpoint": f"{ISSUER}/revoke",
            "end_session_endpoint": f"{ISSUER}/logout",
            "authorization_response_iss_parameter_supported": True,
        }
        self.subject = "u1"
        self.lasts: int | None = 300
        self.offline = True
        self.claims: dict[str, Any] = {"name": "Ann", "sid": "op-1"}
        self.changes: dict[str, Any] = {}
        self.key = KEY
        self.down = False
        self.status: int | None = None
        self.error = "server_error"
        self.gate: asyncio.Event | None = None
        self.codes: dict[str, dict[str, str]] = {}
        self.grants: dict[str, str] = {}  # a refresh token, and the grant it is of
        self.used: set[str] = set()
        self.dead: set[str] = set()
        self.pushed: dict[str, dict[str, str]] = {}
        self.revoked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.issued: list[str] = []

    @property
    def refreshes(self) -> int:
        return sum(form.get("grant_type") == "refresh_token" for form in self.forms)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("nobody listens")
        match request.url.path:
            case "/.well-known/openid-configuration":
                return httpx.Response(200, json=self.metadata)
            case "/jwks":
                return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]})
        form = dict(parse_qsl(request.content.decode()))
        self._check_client(request, form)
        self.forms.append(form)
        if self.gate is not None:
            await self.gate.wait()
        if self.status is not None:
            return httpx.Response(self.status, json={"error": self.error})
        match request.url.path:
            case "/par":
                uri = f"urn:par:{len(self.pushed)}"
                self.pushed[uri] = form
                return httpx.Response(201, json={"request_uri": uri, "expires_in": 60})
            case "/revoke":
                self.revoked.append(form["token"])
                return httpx.Response(200)
            case "/token":
                return self._token(form)
        return httpx.Response(404)

    def _check_client(self, request: httpx.Request, form: dict[str, str]) -> None:
        if "client_assertion" in form or "client_secret" in form:
            return  # looked at by the tests that use them
        given = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        assert given == "web:s3cr3t+%26+more"

    def authorize(self, location: str) -> str:
        """What a browser that was sent to ``location`` is sent back to, once the user has signed in."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        if "request_uri" in asked:
            assert set(asked) == {"client_id", "request_uri"}
            asked = self.pushed.pop(asked["request_uri"])
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{SITE}/auth/callback"
        code = secrets.token_urlsafe(8)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': ISSUER})}"

    def _token(self, form: dict[str, str]) -> httpx.Response:
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            if asked is None or asked["redirect_uri"] != form["redirect_uri"]:
                return _denied()
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
            assert challenge.rstrip(b"=").decode() == asked["code_challenge"]
            return self._issue(secrets.token_urlsafe(8), asked)
        used = form["refresh_token"]
        grant = self.grants.get(used)
        if grant is None or used in self.used:
            self.dead.add(grant or "")
        if grant is None or grant in self.dead:
            return _denied()
        self.used.add(used)
        return self._issue(grant, None)

    def _issue(self, grant: str, asked: dict[str, str] | None) -> httpx.Response:
        access = f"at-{secrets.token_urlsafe(12)}"
        self.issued.append(access)
        document: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "scope": "openid orders:read"}
        if self.lasts is not None:
            document["expires_in"] = self.lasts
        if self.offline:
            document["refresh_token"] = refresh = f"rt-{secrets.token_urlsafe(12)}"
            self.grants[refresh] = grant
        if asked is not None:
            document["id_token"] = self.id_token(nonce=asked["nonce"], access=access)
        return httpx.Response(200, json=document)

    def id_token(self, **given: Any) -> str:
        now = int(self.clock())
        access = given.pop("access", "")
        half = base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
        standard = {"iss": ISSUER, "aud": CLIENT_ID, "sub": self.subject, "iat": now, "exp": now + 60, "at_hash": half}
        return self.signed({**standard, "auth_time": now, **self.claims, **given, **self.changes})

    def logout_token(self, **changes: Any) -> str:
        now = int(self.clock())
        standard = {"iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "jti": secrets.token_urlsafe(8)}
        return self.signed({**standard, "events": {LOGOUT_EVENT: {}}, **changes}, typ="logout+jwt")

    def signed(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        told = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": "k1", "typ": typ}, told, self.key)


def _denied() -> httpx.Response:
    return httpx.Response(400, json={"error": "invalid_grant", "error_description": "quotes nothing"})


class Browser:
    """Keeps cookies, and says of its requests what browsers say."""

    def __init__(self, app: Bff) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=SITE)

    async def navigate(self, url: str, site: str = "none", **headers: str) -> httpx.Response:
        said = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        return await self.client.get(url, headers={**said, **headers})

    async def fetch(self, url: str, method: str = "GET", **options: Any) -> httpx.Response:
        """As a script of the site's own calls it; ``headers`` of None are left out."""
        said = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "x-csrf": "1"}
        if method != "GET":
            said["origin"] = SITE
        headers = {name: value for name, value in {**said, **options.pop("headers", {})}.items() if value is not None}
        return await self.client.request(method, url, headers=headers, **options)

    async def begin(self, path: str = "/auth/login") -> str:
        """Where the gateway sends the browser to sign in."""
        response = await self.navigate(path)
        assert response.status_code == 303, response.text
        return response.headers["location"]

    async def sign_in(self, provider: Provider, path: str = "/auth/login") -> httpx.Response:
        """The answer to the callback."""
        return await self.navigate(provider.authorize(await self.begin(path)), site="cross-site")

    @property
    def session(self) -> str | None:
        return self.client.cookies.get("__Host-Http-session")


class Me(BaseModel):
    subject: str
    token: str | None
    scopes: list[str]


class MePage(Page):
    @section
    async def me(self, principal: Principal) -> Me:
        return Me(subject=principal.subject, token=principal.token, scopes=sorted(principal.scopes))


class Echo(BaseModel):
    authorization: str | None
    cookie: str | None


class Notes(ServiceClient, service="notes"):
    @get("/echo")
    async def echo(self) -> Echo: ...


class EchoPage(Page):
    echo = required(Notes.echo)


Make = Callable[..., Any]


class Site:
    """The provider, the store, and gateways (replicas) that share them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.provider = Provider(self.clock)
        self.store: KeyValueStore = MemoryKeyValueStore(clock=self.clock)
        self.stack = AsyncExitStack()
        self.notes_fresh: str | None = None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "notes.test":
            seen = {name: request.headers.get(name) for name in ("authorization", "cookie")}
            headers = {} if self.notes_fresh is None else {"cache-control": self.notes_fresh}
            return httpx.Response(200, json=seen, headers=headers)
        return await self.provider.answer(request)

    def sessions(self, **options: Any) -> OidcSessions:
        standard: dict[str, Any] = {
            "issuer": ISSUER,
            "client_id": CLIENT_ID,
            "base_url": SITE,
            "store": self.store,
            "keys": SESSION_KEYS,
            "transport": httpx.MockTransport(self._answer),
            "clock": self.clock,
        }
        if "client_key" not in options:
            standard["client_secret"] = SECRET
        return OidcSessions(**{**standard, **options})

    async def gateway(self, auth: Any = None, **options: Any) -> Bff:
        settings = Settings(services={"notes": ServiceSettings(url="http://notes.test", auth="relay")})
        app = create_bff(
            "web",
            clients=[Notes],
            settings=settings,
            auth=auth or self.sessions(**options),
            transport=httpx.MockTransport(self._answer),
        )
        app.page("/api/me", MePage)
        app.page("/api/me", MePage, method="POST")
        app.page("/api/echo", EchoPage)
        app.page("/api/secret", MePage, allow=step_up(max_age=60, clock=self.clock))
        app.page("/api/orders", MePage, scopes=["orders:read"])
        app.page("/api/public", MePage2, public=True)
        await self.stack.enter_async_context(app.router.lifespan_context(app))
        return app

    async def browser(self, app: Bff | None = None, **options: Any) -> Browser:
        browser = Browser(app or await self.gateway(**options))
        await self.stack.enter_async_context(browser.client)
        return browser


class MePage2(Page):
    @section
    async def hello(self) -> str:
        return "hello"


@asynccontextmanager
async def a_site() -> AsyncIterator[Site]:
    site = Site()
    async with site.stack:
        yield site
