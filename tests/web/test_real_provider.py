"""The whole way with the certified provider: pushed requests, both kinds of clients, rotation, logout from its side."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from bff_core import AnyOf, BearerJwt, Bff, OidcSessions, Settings, create_bff
from bff_core.stores import KeyValueStore, MemoryKeyValueStore
from tests.servers import free_port

from .fakes import SESSION_KEYS, MePage
from .real import RealProvider, make_certificate, real_provider, served

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

SITE = "https://shop.test"
KEY = ECKey.generate_key("P-256", {"kid": "c1", "use": "sig", "alg": "ES256"})
SECONDS = 4


def client(client_id: str, base: str = SITE, **changes: Any) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "client_secret": "a secret of thirty-two characters or more",
        "redirect_uris": [f"{base}/auth/callback"],
        "post_logout_redirect_uris": [f"{base}/"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid profile offline_access orders:read",
        **changes,
    }


@pytest.fixture(scope="module")
def gateway_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "shop.test")


@pytest.fixture(scope="module")
def provider(gateway_port: int, certificate: Path) -> Iterator[RealProvider]:
    logout = f"https://127.0.0.1:{gateway_port}/auth/backchannel-logout"
    backchannel = {"backchannel_logout_uri": logout, "backchannel_logout_session_required": True}
    clients = [
        client("basic", **backchannel),
        client("post", token_endpoint_auth_method="client_secret_post"),
        client(
            "key",
            client_secret=None,
            token_endpoint_auth_method="private_key_jwt",
            token_endpoint_auth_signing_alg="ES256",
            jwks={"keys": [KEY.as_dict(private=False)]},
        ),
    ]
    for entry in clients:
        if entry["client_secret"] is None:
            del entry["client_secret"]
    with real_provider(clients, seconds=SECONDS, ca=certificate) as running:
        yield running


def sessions_of(provider: RealProvider, client_id: str = "basic", **options: Any) -> OidcSessions:
    standard: dict[str, Any] = {
        "issuer": provider.issuer,
        "client_id": client_id,
        "base_url": SITE,
        "keys": SESSION_KEYS,
        "scopes": ["openid", "profile", "offline_access", "orders:read"],
        "parameters": {"prompt": "consent"},  # without which it gives no refresh token
    }
    if "client_key" not in options:
        standard["client_secret"] = "a secret of thirty-two characters or more"
    return OidcSessions(**{**standard, **options})


def make_gateway(sessions: OidcSessions) -> Bff:
    app = create_bff("web", clients=[], settings=Settings(), auth=sessions)
    app.page("/api/me", MePage)
    app.page("/api/me", MePage, method="POST")
    return app


OWN = {"sec-fetch-site": "same-origin", "x-csrf": "1"}


@asynccontextmanager
async def browser_of(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the gateway in this process, everybody else over the network."""
    inside = httpx.ASGITransport(app)
    async with httpx.AsyncClient(mounts={SITE: inside}, base_url=SITE) as made:
        yield made


async def walk(browser: httpx.AsyncClient, path: str = "/auth/login", user: str = "alice") -> httpx.Response:
    """From ``path`` over the provider's forms, to the answer of the callback."""
    answer = await browser.get(path)
    for _ in range(20):
        if "/auth/callback?" in str(answer.url):
            return answer
        if answer.is_redirect:
            answer = await browser.get(answer.url.join(answer.headers["location"]))
            continue
        form = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
        assert form is not None, answer.text
        prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
        assert prompt is not None
        data = {"prompt": prompt[1], "login": user, "password": "x"}
        answer = await browser.post(answer.url.join(form[1]), data=data)
    raise AssertionError("it never came back")


async def me(browser: httpx.AsyncClient) -> httpx.Response:
    return await browser.get("/api/me", headers=OWN)


@pytest.mark.parametrize("client_id", ["basic", "post", "key"])
async def test_signing_in(provider: RealProvider, client_id: str) -> None:
    """With each way of client authentication; PAR, PKCE, ``iss``, nonce and ``at_hash`` as the provider does them."""
    options = {"client_key": json.dumps(KEY.as_dict(private=True))} if client_id == "key" else {}
    sessions = sessions_of(provider, client_id, **options)
    app = make_gateway(sessions)
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        begun = await browser.get("/auth/login")
        assert "request_uri=urn" in begun.headers["location"]
        assert "state=" not in begun.headers["location"]
        answer = await walk(browser, "/auth/login?return_to=/orders")
        assert (answer.status_code, answer.headers["location"]) == (303, "/orders")
        user = (await me(browser)).json()["me"]
        assert user["subject"] == "alice"
        assert "orders:read" in user["scopes"]
        claims = (await browser.get("/auth/user", headers=OWN)).json()["claims"]
        assert (claims["sub"], claims["name"]) == ("alice", "alice of the tests")


async def test_its_access_token_is_good_for_the_services(provider: RealProvider) -> None:
    """What is relayed verifies at a service that trusts the provider."""
    app = make_gateway(sessions_of(provider))
    jwks = f"{provider.issuer}/jwks"
    bearer = BearerJwt(issuer=provider.issuer, audience="shop", jwks_url=jwks, typ="at+jwt")
    service = create_bff("service", clients=[], settings=Settings(), auth=AnyOf(bearer))
    service.page("/api/me", MePage, scopes=["orders:read"])
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(browser_of(app))
        for each in (app, service):
            await stack.enter_async_context(each.router.lifespan_context(each))
        await walk(browser)
        token = (await me(browser)).json()["me"]["token"]
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://service.test") as caller:
            answer = await caller.get("/api/me", headers={"authorization": f"Bearer {token}"})
        assert answer.json()["me"]["subject"] == "alice"


async def test_a_code_is_good_once(provider: RealProvider) -> None:
    app = make_gateway(sessions_of(provider))
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        callback = (await walk(browser)).url
        assert (await browser.get(callback)).status_code == 400
        assert (await me(browser)).status_code == 200


async def test_replicas_refresh_once_and_the_family_lives_on(provider: RealProvider) -> None:
    """A second use of a refresh token would end the grant at this provider."""
    store: KeyValueStore = MemoryKeyValueStore()
    replicas = [make_gateway(sessions_of(provider, store=store)) for _ in range(2)]
    async with AsyncExitStack() as stack:
        for app in replicas:
            await stack.enter_async_context(app.router.lifespan_context(app))
        one, two = [await stack.enter_async_context(browser_of(app)) for app in replicas]
        await walk(one)
        two.cookies = one.cookies
        tokens = {(await me(one)).json()["me"]["token"]}
        for generation in range(1, 3):
            refreshes = provider.count("grant.success", grant="refresh_token")
            await asyncio.sleep(SECONDS + 0.1)
            answers = await asyncio.gather(*(me(browser) for browser in (one, two) * 5))
            assert [answer.status_code for answer in answers] == [200] * 10
            found = {answer.json()["me"]["token"] for answer in answers}
            assert len(found) == 1
            tokens |= found
            assert len(tokens) == generation + 1
            assert provider.count("grant.success", grant="refresh_token") == refreshes + 1
        assert provider.count("grant.error", grant="refresh_token") == 0


async def test_a_reused_refresh_token_ends_the_session(provider: RealProvider) -> None:
    """A thief who uses the refresh token, and whoever is second, lose the grant; the session ends with a 401."""
    store = MemoryKeyValueStore()
    sessions = sessions_of(provider, store=store)
    app = make_gateway(sessions)
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        await walk(browser)
        held = await sessions.vault.read(browser.cookies["__Host-Http-session"])
        assert held is not None
        assert held.session.refresh is not None
        await sessions._client.renew(held.session.refresh)
        await asyncio.sleep(SECONDS + 0.1)
        answer = await me(browser)
        assert answer.status_code == 401
        assert answer.json()["login"] == "/auth/login"
        assert len(await _sessions_in(store)) == 0


async def _sessions_in(store: MemoryKeyValueStore) -> list[str]:
    return [key for key in store._values if key.startswith("session:")]


async def test_step_up(provider: RealProvider) -> None:
    """``max_age=0`` has the provider ask for the password again, and say when that was."""
    app = make_gateway(sessions_of(provider))
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        await walk(browser)
        await asyncio.sleep(1.1)
        before = time.time()
        answer = await walk(browser, "/auth/login?max_age=0")
        assert answer.status_code == 303, answer.text
        claims = (await browser.get("/auth/user", headers=OWN)).json()["claims"]
        assert claims["auth_time"] >= int(before)


async def test_the_provider_signs_the_user_out_everywhere(
    provider: RealProvider, gateway_port: int, certificate: Path
) -> None:
    """The user signs out at the provider; it tells the gateway over the back channel, with a token of its own."""
    sessions = sessions_of(provider)
    app = make_gateway(sessions)
    with served(app, gateway_port, certificate):
        origin = f"https://127.0.0.1:{gateway_port}"
        transport = httpx.AsyncHTTPTransport(verify=False)
        rewritten = _At(origin, transport)
        async with httpx.AsyncClient(mounts={SITE: rewritten}, base_url=SITE) as browser:
            await walk(browser)
            first = browser.cookies["__Host-Http-session"]
            browser.cookies.delete("__Host-Http-session")
            await walk(browser)  # another session of the same user, at the same session of the provider
            told = provider.count("backchannel.success")
            answer = await browser.post("/auth/logout", headers={**OWN, "origin": SITE})
            location = answer.json()["location"]
            assert location.startswith(f"{provider.issuer}/session/end?client_id=basic&")
            browser.cookies.set("__Host-Http-session", first, domain="shop.test", path="/")
            assert (await me(browser)).status_code == 200
            page = await browser.get(location)
            xsrf = re.search(r'name="xsrf" value="([^"]+)"', page.text)
            assert xsrf is not None, page.text
            confirm = f"{provider.issuer}/session/end/confirm"
            ended = await browser.post(confirm, data={"xsrf": xsrf[1], "logout": "yes"})
            assert ended.headers["location"] == f"{SITE}/"
            await asyncio.to_thread(provider.wait_for, told + 1, "backchannel.success")
            assert provider.count("backchannel.error") == 0
            assert (await me(browser)).status_code == 401


class _At(httpx.AsyncBaseTransport):
    """Sends what is for the site's name to where it listens."""

    def __init__(self, origin: str, inner: httpx.AsyncBaseTransport) -> None:
        self._origin = httpx.URL(origin)
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(host=self._origin.host, port=self._origin.port)
        sent = httpx.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return await self._inner.handle_async_request(sent)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_the_provider_goes_away(certificate: Path) -> None:
    """Who is signed in goes on until the token ends, then it is a 503; nobody signs in meanwhile."""
    with real_provider([client("basic")], seconds=SECONDS) as running:
        app = make_gateway(sessions_of(running))
        async with app.router.lifespan_context(app), browser_of(app) as browser:
            await walk(browser)
            running.process.kill()
            running.process.wait()
            assert (await me(browser)).status_code == 200
            await asyncio.sleep(SECONDS)
            answer = await me(browser)
            assert answer.status_code == 503
            assert "set-cookie" not in answer.headers
            assert (await browser.get("/auth/login")).status_code == 503
