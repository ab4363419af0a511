"""What a hostile reader found: each of these went wrong once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from bff_core import DeclarationError, OidcSessions, RateLimit, Settings, create_bff
from bff_core.auth.oidc.sign_in import Begun
from bff_core.auth.sessions import Session, Tokens
from bff_core.stores import MemoryKeyValueStore

from .fakes import ISSUER, SITE, Browser, Site

pytestmark = pytest.mark.anyio

LARGEST_COOKIE = 4096
"""Bytes of name and value together that browsers keep (RFC 6265bis section 5.6)."""


class Pausing(MemoryKeyValueStore):
    """Stands still before a session is put into it."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if key.startswith("session:"):
            self.reached.set()
            await self.go.wait()
        await super().put(key, value, ttl)


@pytest.mark.parametrize("named", [{"sub": "u1"}, {"sid": "op-1"}])
async def test_a_logout_that_meets_a_sign_in(site: Site, named: dict[str, str]) -> None:
    """The provider signs the user out while the session is being entered: it must not come to life afterwards."""
    site.store = store = Pausing(site.clock)
    browser = await site.browser()
    signing_in = asyncio.create_task(browser.sign_in(site.provider))
    await store.reached.wait()
    told = await browser.client.post(
        "/auth/backchannel-logout", data={"logout_token": site.provider.logout_token(**named)}
    )
    assert told.status_code == 200
    store.go.set()
    await signing_in
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_new_tokens_survive_keys_that_cannot_be_fetched(site: Site) -> None:
    """The provider has rotated the refresh token. Whether the ID token beside it is good can wait, the new refresh
    token cannot: using the old one again would end the grant."""
    one = await site.browser()
    await one.sign_in(site.provider)
    issue = site.provider._issue

    def with_identity(grant: str, asked: dict[str, str] | None) -> httpx.Response:
        answer = issue(grant, asked)
        identity = site.provider.id_token(name="Ann of the hill", at_hash=None)
        return httpx.Response(200, json={**answer.json(), "id_token": identity})

    site.provider._issue = with_identity  # type: ignore[method-assign]
    real = site.provider.answer

    async def without_keys(request: httpx.Request) -> httpx.Response:
        return httpx.Response(500) if request.url.path == "/jwks" else await real(request)

    site.provider.answer = without_keys  # type: ignore[method-assign]
    two = await site.browser()  # a replica that has just started
    two.client.cookies = one.client.cookies
    for generation in (1, 2):
        site.clock.now += 1000
        answer = await two.fetch("/api/me")
        assert answer.status_code == 200, answer.text
        assert site.provider.refreshes == generation
    assert not site.provider.dead


def test_a_session_of_another_version() -> None:
    """Replicas of two versions run side by side while one is rolled out: what the other one added is left out, and what
    cannot be read is no session, but no mistake either."""
    tokens = Tokens("at", 300, "rt", None, None)
    session = Session.begin({"sub": "u1", "iss": ISSUER}, tokens, frozenset({"openid"}), None, 900, 1000.0)
    values = json.loads(session.dump())
    assert Session.load(json.dumps({**values, "later": 1}).encode()) == session
    del values["access"]
    assert Session.load(json.dumps(values).encode()) is None


@pytest.mark.parametrize("curve", ["P-384", "P-521"])
async def test_a_client_key_of_another_curve(site: Site, curve: str) -> None:
    """It signs by the algorithm of its curve (RFC 7518 section 3.4)."""
    key = ECKey.generate_key(curve)
    browser = await site.browser(client_key=key.as_pem(private=True).decode())
    assert (await browser.sign_in(site.provider)).status_code == 303
    algorithm = {"P-384": "ES384", "P-521": "ES512"}[curve]
    assertion = site.provider.forms[-1]["client_assertion"]
    assert jwt.decode(assertion, key, algorithms=[algorithm]).header["alg"] == algorithm


@pytest.mark.parametrize("key", [ECKey.generate_key("secp256k1"), OKPKey.generate_key("X25519")])
def test_a_client_key_that_cannot_sign(key: ECKey | OKPKey) -> None:
    text = key.as_pem(private=True).decode()
    with pytest.raises(DeclarationError, match="client_key"):
        OidcSessions(issuer=ISSUER, client_id="web", client_key=text, base_url=SITE)


def test_an_issuer_that_is_no_url() -> None:
    with pytest.raises(DeclarationError, match="issuer"):
        OidcSessions(issuer="https://[::", client_id="web", client_secret="x", base_url=SITE)


@pytest.mark.parametrize(
    ("name", "value"), [("token_endpoint", "https://[::"), ("token_endpoint_auth_methods_supported", 5)]
)
async def test_a_document_that_is_of_no_use(site: Site, name: str, value: Any) -> None:
    site.provider.metadata[name] = value
    browser = await site.browser()
    assert (await browser.navigate("/auth/login")).status_code == 503


async def test_signing_in_is_under_the_gateways_limits(site: Site) -> None:
    """Every sign-in that begins may ask the provider (PAR). The provider itself is not held up: it has one address for
    all of its users, and nobody would be signed out later."""
    limits = [RateLimit("address", "2/day", key="client_ip")]
    app = create_bff("web", clients=[], settings=Settings(), auth=site.sessions(), limits=limits)
    await site.stack.enter_async_context(app.router.lifespan_context(app))
    browser = await site.browser(app)
    assert [(await browser.navigate("/auth/login")).status_code for _ in range(3)] == [303, 303, 429]
    token = site.provider.logout_token(sub="u1")
    assert (await browser.client.post("/auth/backchannel-logout", data={"logout_token": token})).status_code == 200


@pytest.mark.parametrize("filling", ["x", "%22", '"', "\\"])
async def test_what_a_sign_in_keeps_fits_into_a_cookie(site: Site, filling: str) -> None:
    """A cookie that is too large is dropped by the browser, and the sign-in could never end."""
    browser = await site.browser()
    long = "/x?" + filling * ((2048 - 3) // len(filling))
    answer = await browser.client.get("/auth/login", params={"return_to": long, "acr_values": "a" * 256})
    assert answer.status_code == 303
    (cookie,) = answer.headers.get_list("set-cookie")
    assert len(cookie.partition(";")[0]) <= LARGEST_COOKIE
    answer = await browser.client.get("/auth/login", params={"acr_values": "a" * 257})
    assert answer.status_code == 400


async def test_sign_ins_that_others_begin_do_not_shut_the_user_out(site: Site) -> None:
    """Links of another site begin sign-ins with long addresses to return to: their cookies together must leave room for
    those of the site, of which there may be 16 KiB."""
    browser = await site.browser()
    for number in range(10):
        answer = await browser.navigate(f"/auth/login?return_to=/x%3F{number}{'x' * 3000}"[:2048], "cross-site")
        assert answer.status_code == 303
        answer = await browser.navigate(
            f"/auth/login?acr_values={'a' * 256}&return_to=/x%3F{number}{'x' * 1000}", "cross-site"
        )
        assert answer.status_code == 303
        sent = sum(len(cookie.name) + len(cookie.value or "") + 3 for cookie in browser.client.cookies.jar)
        assert sent < 10 * 1024
    assert (await browser.sign_in(site.provider)).status_code == 303


def test_nothing_secret_is_shown_by_mistake() -> None:
    """In a traceback with locals, a debugger's log, a failed assertion."""
    tokens = Tokens("the-access", 300, "the-refresh", "the-identity", None)
    session = Session.begin({"sub": "u1", "iss": ISSUER}, tokens, frozenset(), None, 900, 1000.0)
    begun = Begun("the-state", "the-nonce", "the-verifier", "/", None, (), 0.0)
    shown = repr((tokens, session, begun))
    assert "the-" not in shown


@pytest.mark.parametrize("base_url", ["https://shop.test:443", "HTTPS://Shop.Test"])
async def test_an_origin_is_written_as_browsers_write_it(site: Site, base_url: str) -> None:
    browser: Browser = await site.browser(base_url=base_url)
    await browser.sign_in(site.provider)
    assert (await browser.fetch("/api/me", "POST")).status_code == 200
