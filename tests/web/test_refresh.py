"""Renewing tokens: once, whoever wants it first; and what is when the provider says no, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bff_core.stores import MemoryKeyValueStore, StoreUnavailable, open_store

from .fakes import KEY, OTHER_KEY, Browser, Site

pytestmark = pytest.mark.anyio


async def settle() -> None:
    """Let what goes on in the background end."""
    for _ in range(50):
        await asyncio.sleep(0)


async def signed_in(site: Site, replicas: int = 1, **options: Any) -> list[Browser]:
    """One user's browser at each of several replicas."""
    browsers = [await site.browser(**options) for _ in range(replicas)]
    await browsers[0].sign_in(site.provider)
    for other in browsers[1:]:
        other.client.cookies = browsers[0].client.cookies
    return browsers


async def token(browser: Browser) -> str:
    answer = await browser.fetch("/api/me")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["me"]["token"])


async def test_tokens_are_renewed_ahead_and_nobody_waits(site: Site) -> None:
    (browser,) = await signed_in(site)
    old = site.provider.issued[0]
    site.clock.now += 239
    assert await token(browser) == old
    await settle()
    assert site.provider.refreshes == 0
    site.clock.now += 2
    site.provider.gate = asyncio.Event()
    assert await token(browser) == old  # while the new one is on its way
    site.provider.gate.set()
    await settle()
    assert site.provider.refreshes == 1
    assert await token(browser) == site.provider.issued[1]


async def test_a_token_that_has_ended_is_waited_for(site: Site) -> None:
    (browser,) = await signed_in(site)
    site.clock.now += 1000
    assert await token(browser) == site.provider.issued[1]
    site.clock.now += 1000
    assert await token(browser) == site.provider.issued[2]
    assert site.provider.refreshes == 2


@pytest.mark.parametrize("age", [250, 1000], ids=["ahead", "ended"])
@pytest.mark.parametrize("kind", ["memory", "sqlite", "valkey"])
async def test_two_tabs_and_two_replicas_refresh_at_once(
    site: Site, kind: str, age: float, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    """Exactly one refresh at the provider, which would end the grant at a second one; nobody is signed out."""
    if kind == "memory":
        stores: list[Any] = [site.store] * 2
    else:
        url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("valkey_url")
        stores = [open_store(url, namespace="web:sessions", timeout=20) for _ in range(2)]
    browsers = []
    for store in stores:
        site.store = store
        app = await site.gateway()
        browsers += [await site.browser(app) for _ in range(2)]  # two tabs each
    await browsers[0].sign_in(site.provider)
    for other in browsers[1:]:
        other.client.cookies = browsers[0].client.cookies
    site.clock.now += age
    site.provider.gate = asyncio.Event()
    calls = [asyncio.create_task(browser.fetch("/api/me")) for browser in browsers * 5]
    while not site.provider.refreshes:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    site.provider.gate.set()
    assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * 20
    while len(site.provider.issued) < 2:
        await asyncio.sleep(0.005)
    for browser in browsers:
        while await token(browser) != site.provider.issued[1]:
            await asyncio.sleep(0.005)
    assert site.provider.refreshes == 1
    await site.stack.aclose()
    for store in stores:
        await store.aclose()


async def test_who_comes_just_after_another_one_was_there(site: Site) -> None:
    """What it read before is old: with the lease it looks again."""
    sessions = site.sessions()
    browser = await site.browser(await site.gateway(sessions))
    await browser.sign_in(site.provider)
    site.clock.now += 1000
    await token(browser)
    assert browser.session is not None
    session = await sessions._refresher.start(browser.session)
    assert session is not None
    assert session.access == site.provider.issued[1]
    assert site.provider.refreshes == 1


@pytest.mark.parametrize("age", [250, 1000], ids=["ahead", "ended"])
async def test_a_refresh_token_that_is_taken_no_more(site: Site, age: float) -> None:
    """Expired, revoked, used by a thief: the session ends cleanly, on every replica."""
    first, second = await signed_in(site, 2)
    site.provider.dead.update(site.provider.grants.values())
    site.clock.now += age
    await first.fetch("/api/me")
    await settle()
    for browser in (first, second):
        answer = await browser.fetch("/api/me")
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:problem-type:bff:sign-in"
    assert site.provider.refreshes == 1


async def test_a_refresh_token_that_a_thief_used(site: Site) -> None:
    (browser,) = await signed_in(site)
    (stolen,) = site.provider.grants
    assert site.provider._token({"grant_type": "refresh_token", "refresh_token": stolen}).status_code == 200
    site.clock.now += 1000
    assert (await browser.fetch("/api/me")).status_code == 401
    assert set(site.provider.grants.values()) == site.provider.dead


async def test_a_provider_that_does_not_rotate(site: Site) -> None:
    (browser,) = await signed_in(site)
    issue = site.provider._issue

    def keep(grant: str, asked: dict[str, str] | None) -> Any:
        answer = issue(grant, asked)
        document = {name: value for name, value in answer.json().items() if name not in ("refresh_token", "scope")}
        site.provider.used.clear()
        return type(answer)(200, json=document)

    site.provider._issue = keep  # type: ignore[method-assign]
    for renewal in (1, 2):
        site.clock.now += 400
        assert await token(browser) == site.provider.issued[renewal]
    assert (await browser.fetch("/api/orders")).status_code == 200  # the scopes are what they were


@pytest.mark.parametrize(
    ("status", "error"), [(400, "invalid_grant"), (400, "interaction_required"), (401, "invalid_grant")]
)
async def test_ways_of_saying_no(site: Site, status: int, error: str) -> None:
    """Whatever it is, only the user can help: by signing in again."""
    (browser,) = await signed_in(site)
    site.provider.status, site.provider.error = status, error
    site.clock.now += 1000
    assert (await browser.fetch("/api/me")).status_code == 401


DOWN = ["nobody listens", "500 server_error", "401 invalid_client", "400 invalid_client", "400 slow_down", "429 x"]


@pytest.mark.parametrize("how", DOWN)
async def test_the_provider_is_down(site: Site, how: str) -> None:
    """Who is signed in goes on until the token ends; then it is a 503, and a 200 when the provider is back. Also when
    it is our own fault (the client's secret)."""
    (browser,) = await signed_in(site)
    site.provider.down = how == "nobody listens"
    if not site.provider.down:
        status, site.provider.error = how.split()
        site.provider.status = int(status)
    site.clock.now += 250
    for _ in range(3):
        assert await token(browser) == site.provider.issued[0]
        await settle()
    site.clock.now += 44
    assert await token(browser) == site.provider.issued[0]
    site.clock.now += 2
    answer = await browser.fetch("/api/me")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    site.provider.down, site.provider.status = False, None
    site.clock.now += 6
    assert await token(browser) == site.provider.issued[1]


async def test_a_provider_that_is_down_is_left_alone(site: Site) -> None:
    first, second = await signed_in(site, 2)
    site.provider.status = 503
    site.clock.now += 1000
    for browser in (first, second) * 5:
        assert (await browser.fetch("/api/me")).status_code == 503
    assert site.provider.refreshes == 1
    site.clock.now += 5.1
    assert (await second.fetch("/api/me")).status_code == 503
    assert site.provider.refreshes == 2


async def test_a_replica_that_dies_while_it_refreshes(site: Site) -> None:
    """Its lease runs out, and another replica takes over."""
    (browser,) = await signed_in(site)
    site.clock.now += 1000
    store = site.store
    (session,) = [key for key in store._values if key.startswith("session:")]  # type: ignore[attr-defined]
    await store.put("refresh:" + session.removeprefix("session:"), b"of a replica that is gone", 30)
    waiting = asyncio.create_task(browser.fetch("/api/me"))
    await asyncio.sleep(0.12)
    assert (waiting.done(), site.provider.refreshes) == (False, 0)
    site.clock.now += 31
    assert (await waiting).status_code == 200
    assert site.provider.refreshes == 1


async def test_signing_out_while_tokens_are_renewed(site: Site) -> None:
    """The renewal does not bring the session back, and its tokens are given back."""
    first, second = await signed_in(site, 2)
    site.clock.now += 250
    site.provider.gate = asyncio.Event()
    await first.fetch("/api/me")
    while not site.provider.refreshes:
        await asyncio.sleep(0)
    ending = asyncio.create_task(second.fetch("/auth/logout", "POST"))
    await settle()
    site.provider.gate.set()
    assert (await ending).status_code == 200
    await settle()
    first.client.cookies.set("__Host-Http-session", first.session or "A" * 43, domain="shop.test", path="/")
    assert (await first.fetch("/api/me")).status_code == 401
    assert list(site.provider.grants)[-1] in site.provider.revoked


async def test_a_use_that_is_written_down_while_tokens_are_renewed(site: Site) -> None:
    """Neither undoes the other."""
    first, second = await signed_in(site, 2)
    site.clock.now += 250
    site.provider.gate = asyncio.Event()
    await first.fetch("/auth/user?slide=false")
    while not site.provider.refreshes:
        await asyncio.sleep(0)
    await second.fetch("/api/me")  # slides
    site.provider.gate.set()
    await settle()
    assert await token(second) == site.provider.issued[1]
    assert (await first.fetch("/auth/user?slide=false")).json()["idle_in"] == 1800


async def test_new_tokens_are_kept_when_the_store_falters(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (browser,) = await signed_in(site)
    swap, failures = site.store.swap, 2

    async def falters(key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        nonlocal failures
        if key.startswith("session:") and site.provider.refreshes and failures:
            failures -= 1
            if failures:
                await swap(key, expected, value, ttl)  # it was done, and the answer was lost
            raise StoreUnavailable("falters")
        return await swap(key, expected, value, ttl)

    monkeypatch.setattr(site.store, "swap", falters)
    site.clock.now += 1000
    assert await token(browser) == site.provider.issued[1]
    assert (site.provider.refreshes, failures) == (1, 0)


async def test_the_store_is_down_when_tokens_should_be_renewed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (browser,) = await signed_in(site)

    async def fails(*_: Any) -> bool:
        raise StoreUnavailable("down")

    monkeypatch.setattr(site.store, "swap", fails)
    site.clock.now += 250
    assert await token(browser) == site.provider.issued[0]
    site.clock.now += 100
    assert (await browser.fetch("/api/me")).status_code == 503
    assert site.provider.refreshes == 0


@pytest.mark.parametrize("wrong", ["sub", "key"])
async def test_a_renewal_for_somebody_else(site: Site, wrong: str) -> None:
    """An ID token that comes along is verified as the first one was."""
    (browser,) = await signed_in(site)
    issue = site.provider._issue

    def another(grant: str, asked: dict[str, str] | None) -> Any:
        answer = issue(grant, asked)
        site.provider.key = OTHER_KEY if wrong == "key" else KEY
        identity = site.provider.id_token(sub="u2" if wrong == "sub" else "u1", at_hash=None)
        return type(answer)(200, json={**answer.json(), "id_token": identity})

    site.provider._issue = another  # type: ignore[method-assign]
    site.clock.now += 1000
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_a_renewal_with_new_claims(site: Site) -> None:
    (browser,) = await signed_in(site)
    issue = site.provider._issue

    def another(grant: str, asked: dict[str, str] | None) -> Any:
        answer = issue(grant, asked)
        identity = site.provider.id_token(name="Ann of the hill", at_hash=None)
        return type(answer)(200, json={**answer.json(), "id_token": identity})

    site.provider._issue = another  # type: ignore[method-assign]
    site.clock.now += 1000
    await token(browser)
    assert (await browser.fetch("/auth/user")).json()["claims"]["name"] == "Ann of the hill"


async def test_a_slow_provider_is_not_waited_for_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is answered; the renewal goes on, and is there for the next one."""
    monkeypatch.setattr("bff_core.auth.oidc.oidc_sessions.LONGEST_WAIT", 0.05)
    (browser,) = await signed_in(site)
    site.clock.now += 1000
    site.provider.gate = asyncio.Event()
    assert (await browser.fetch("/api/me")).status_code == 503
    monkeypatch.setattr("bff_core.auth.oidc.oidc_sessions.LONGEST_WAIT", 20)
    site.provider.gate.set()
    assert await token(browser) == site.provider.issued[1]
    assert site.provider.refreshes == 1


async def test_a_gateway_that_stops_waits_for_what_it_renews(site: Site) -> None:
    assert isinstance(site.store, MemoryKeyValueStore)
    sessions = site.sessions()
    app = await site.gateway(sessions)
    browser = await site.browser(app)
    await browser.sign_in(site.provider)
    site.clock.now += 250
    site.provider.gate = asyncio.Event()
    await browser.fetch("/api/me")
    while not site.provider.refreshes:
        await asyncio.sleep(0)
    closing = asyncio.create_task(sessions.aclose())
    await settle()
    assert not closing.done()
    site.provider.gate.set()
    await closing
    next_one = await site.browser()
    next_one.client.cookies = browser.client.cookies
    assert await token(next_one) == site.provider.issued[1]
    assert site.provider.refreshes == 1
