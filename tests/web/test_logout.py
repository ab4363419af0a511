"""Signing out: here, at the provider, and from the provider's side."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bff_core.auth.sessions import Sealer, Session, Tokens, Vault, index_names
from bff_core.stores import MemoryKeyValueStore, StoreUnavailable

from .fakes import CLIENT_ID, ISSUER, LOGOUT_EVENT, OTHER_KEY, SESSION_KEYS, SITE, Browser, Clock, Site

pytestmark = pytest.mark.anyio

OWN_FORM = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate", "origin": SITE}


async def signed_in(site: Site, **options: Any) -> Browser:
    browser = await site.browser(**options)
    await browser.sign_in(site.provider)
    return browser


async def tell(browser: Browser, token: str) -> int:
    """The provider's own call."""
    answer = await browser.client.post("/auth/backchannel-logout", data={"logout_token": token})
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code


async def test_a_form_signs_out_here_and_at_the_provider(site: Site) -> None:
    browser = await signed_in(site)
    session = browser.session
    answer = await browser.client.post("/auth/logout", headers=OWN_FORM)
    assert answer.status_code == 303
    url = urlsplit(answer.headers["location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://id.test/logout"
    assert parse_qs(url.query) == {"client_id": [CLIENT_ID], "post_logout_redirect_uri": [f"{SITE}/"]}
    assert browser.session is None
    assert site.provider.revoked == list(site.provider.grants)
    # the cookie, in another browser
    browser.client.cookies.set("__Host-Http-session", session or "", domain="shop.test", path="/")
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_a_script_is_told_where_to_go(site: Site) -> None:
    browser = await signed_in(site, after_logout="/bye")
    answer = await browser.fetch("/auth/logout", "POST")
    assert answer.status_code == 200
    assert parse_qs(urlsplit(answer.json()["location"]).query)["post_logout_redirect_uri"] == [f"{SITE}/bye"]
    assert browser.session is None


async def test_the_id_token_goes_along_when_asked_for(site: Site) -> None:
    browser = await signed_in(site, id_token_hint=True)
    location = (await browser.fetch("/auth/logout", "POST")).json()["location"]
    assert parse_qs(urlsplit(location).query)["id_token_hint"][0].count(".") == 2


async def test_whoever_is_not_signed_in(site: Site) -> None:
    browser = await site.browser()
    answer = await browser.client.post("/auth/logout", headers=OWN_FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("how", ["down", "no endpoint"])
async def test_signing_out_without_the_provider(site: Site, how: str) -> None:
    """Here at least."""
    if how == "no endpoint":
        del site.provider.metadata["end_session_endpoint"]
        del site.provider.metadata["revocation_endpoint"]
    browser = await signed_in(site)
    site.provider.down = how == "down"
    answer = await browser.client.post("/auth/logout", headers=OWN_FORM)
    assert answer.status_code == 303
    assert browser.session is None


async def test_logout_everywhere(site: Site) -> None:
    """A token with ``sub`` ends all of the user's sessions, on every replica, and nobody else's."""
    one, two = await signed_in(site), await signed_in(site)
    site.provider.subject = "u2"
    other = await signed_in(site)
    assert await tell(one, site.provider.logout_token(sub="u1")) == 200
    assert [(await browser.fetch("/api/me")).status_code for browser in (one, two, other)] == [401, 401, 200]


async def test_logout_of_one_session_at_the_provider(site: Site) -> None:
    one = await signed_in(site)
    site.provider.claims["sid"] = "op-2"
    two = await signed_in(site)
    assert await tell(one, site.provider.logout_token(sub="u1", sid="op-1")) == 200
    assert [(await browser.fetch("/api/me")).status_code for browser in (one, two)] == [401, 200]
    assert await tell(one, site.provider.logout_token(sid="op-2")) == 200
    assert (await two.fetch("/api/me")).status_code == 401


class Interleaved(MemoryKeyValueStore):
    """A session is put after a logout has looked for it, and before the logout deletes its index."""

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.signing_in, self.looked, self.put_it, self.go_on = (asyncio.Event() for _ in range(4))

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        if key.startswith("session:"):
            self.signing_in.set()
            await self.put_it.wait()
        await super().put(key, value, ttl)

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        deleted = await super().delete(key, expected)
        if key.startswith("session:") and not self.looked.is_set():
            self.looked.set()
            await self.go_on.wait()
        return deleted


@pytest.mark.parametrize("named", [{"sub": "u1"}, {"sid": "op-1"}], ids=str)
async def test_logout_against_a_sign_in(site: Site, named: dict[str, str]) -> None:
    """Whichever of them is the later one: the session does not outlive both."""
    site.store = store = Interleaved(site.clock)
    browser = await site.browser()
    signing_in = asyncio.create_task(browser.sign_in(site.provider))
    await store.signing_in.wait()
    signing_out = asyncio.create_task(tell(browser, site.provider.logout_token(**named)))
    await store.looked.wait()
    store.put_it.set()
    assert (await signing_in).status_code == 303
    store.go_on.set()
    assert await signing_out == 200
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_logout_of_nobody(site: Site) -> None:
    browser = await signed_in(site)
    assert await tell(browser, site.provider.logout_token(sub="u9")) == 200
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_a_logout_token_is_good_once(site: Site) -> None:
    browser = await signed_in(site)
    token = site.provider.logout_token(sub="u1")
    assert await tell(browser, token) == 200
    assert await tell(browser, token) == 400


class Failing(MemoryKeyValueStore):
    """Goes down at a call that the test chooses, until the test says that it is up."""

    at = ""
    down = False

    def _check(self, what: str) -> None:
        self.down = self.down or what == self.at
        if self.down:
            raise StoreUnavailable("down")

    async def get(self, key: str) -> bytes | None:
        self._check("get " + key.partition(":")[0])
        return await super().get(key)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._check("put " + key.partition(":")[0])
        await super().put(key, value, ttl)

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._check("delete " + key.partition(":")[0])
        return await super().delete(key, expected)


@pytest.mark.parametrize("at", ["get jti", "get sub", "delete session", "delete sub", "put jti"])
async def test_a_logout_token_that_met_an_outage_can_be_said_again(site: Site, at: str) -> None:
    site.store = store = Failing(clock=site.clock)
    browser = await signed_in(site)
    token = site.provider.logout_token(sub="u1")
    store.at = at
    assert await tell(browser, token) == 503
    store.at, store.down = "", False
    assert await tell(browser, token) == 200
    assert (await browser.fetch("/api/me")).status_code == 401
    assert await tell(browser, token) == 400


class Stepping(MemoryKeyValueStore):
    """Before its step ``then`` of a logout somebody else's ``steps`` are done; its step ``fails`` fails."""

    def __init__(self, clock: Any, fails: int, then: int, steps: Any) -> None:
        super().__init__(clock=clock)
        self.number, self.fails, self.then, self.steps = 0, fails, then, steps

    async def step(self) -> None:
        self.number += 1
        if self.number == self.then:
            self.then = 0
            number, self.number = self.number, -1000
            await self.steps()
            self.number = number
        if self.number == self.fails:
            raise StoreUnavailable("down")

    async def get(self, key: str) -> bytes | None:
        await self.step()
        return await super().get(key)

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        await self.step()
        return await super().swap(key, expected, value, ttl)

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        await self.step()
        return await super().delete(key, expected)


@pytest.mark.parametrize("then", range(1, 7))
@pytest.mark.parametrize("fails", range(1, 7))
async def test_a_logout_that_failed_anywhere_is_made_good(fails: int, then: int) -> None:
    """Whatever step of it fails, and wherever between its steps a sign-in that had been entered ends: once it succeeds,
    nothing is left that it was to end."""
    clock = Clock()
    entered, put_it, created = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def finish() -> None:
        put_it.set()
        await created.wait()

    class Store(Stepping):
        async def put(self, key: str, value: bytes, ttl: float) -> None:
            entered.set()
            await put_it.wait()
            await super().put(key, value, ttl)

    store = Store(clock, 0, 0, finish)
    vault = Vault(store, Sealer(SESSION_KEYS), idle=900, clock=clock)
    tokens = Tokens("at", 300, "rt", None, None)
    session = Session.begin({"sub": "u1", "iss": ISSUER}, tokens, frozenset({"openid"}), None, 900, clock())

    async def create() -> str:
        try:
            return await vault.create(session, None)
        finally:
            created.set()

    signing_in = asyncio.create_task(create())
    await entered.wait()
    names = index_names(ISSUER, "u1", None)
    store.number, store.fails, store.then = 0, fails, then
    try:
        await vault.end_all(names)
    except StoreUnavailable:
        store.fails = 0
        await vault.end_all(names)
    store.fails = store.then = 0
    put_it.set()
    assert await vault.read(await signing_in) is None


async def test_a_logout_that_meets_another_key(site: Site) -> None:
    """A replica that cannot read which sessions to end must not say that they are, nor forget which they were."""
    new = "another key of thirty-two characters or more"
    ahead = await signed_in(site, keys=[new, *SESSION_KEYS])
    behind = await site.browser()
    token = site.provider.logout_token(sub="u1")
    assert await tell(behind, token) == 503
    assert (await ahead.fetch("/api/me")).status_code == 200
    assert await tell(ahead, token) == 200
    assert (await ahead.fetch("/api/me")).status_code == 401


async def test_keys_are_changed_in_two_steps(site: Site) -> None:
    """Appended first, which every replica has before one seals with it: no logout is missed on the way."""
    (old,), new = SESSION_KEYS, "another key of thirty-two characters or more"
    for first, second in (([old], [old, new]), ([old, new], [new, old])):
        for one, other in ((first, second), (second, first)):
            browser, replica = await signed_in(site, keys=one), await signed_in(site, keys=other)
            assert await tell(replica, site.provider.logout_token(sub="u1")) == 200
            assert [(await each.fetch("/api/me")).status_code for each in (browser, replica)] == [401, 401]


async def test_who_has_lost_the_keys_signs_in_again(site: Site) -> None:
    """Nobody can read what was there: it must not keep anybody out, nor hinder the next logout."""
    await signed_in(site)
    browser = await signed_in(site, keys=["another key of thirty-two characters or more"])
    assert (await browser.fetch("/api/me")).status_code == 200
    assert await tell(browser, site.provider.logout_token(sub="u1")) == 200
    assert (await browser.fetch("/api/me")).status_code == 401


WRONG: dict[str, dict[str, Any]] = {
    "audience": {"aud": "another"},
    "issuer": {"iss": "https://evil.test"},
    "expired": {"exp": 1},
    "no exp": {"exp": None},
    "no iat": {"iat": None},
    "no jti": {"jti": None},
    "no events": {"events": None},
    "another event": {"events": {"http://evil.test": {}}},
    "an event that is no object": {"events": {LOGOUT_EVENT: True}},
    "a nonce": {"nonce": "x"},
    "neither sub nor sid": {"sub": None},
    "a sid of another type": {"sid": 7},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_logout_token_with_something_wrong(site: Site, wrong: str) -> None:
    browser = await signed_in(site)
    assert await tell(browser, site.provider.logout_token(**{"sub": "u1", **WRONG[wrong]})) == 400
    assert (await browser.fetch("/api/me")).status_code == 200


@pytest.mark.parametrize("forged", ["another key", "an ID token", "no token", "an access token's type", "nothing"])
async def test_a_forged_logout_token(site: Site, forged: str) -> None:
    browser = await signed_in(site)
    provider = site.provider
    token = {"an ID token": provider.id_token(nonce="x"), "no token": "x", "nothing": ""}.get(forged)
    if forged == "another key":
        provider.key = OTHER_KEY
        token = provider.logout_token(sub="u1")
    elif token is None:
        now = int(site.clock())
        claims = {"iss": "https://id.test", "aud": CLIENT_ID, "iat": now, "exp": now + 60, "jti": "x", "sub": "u1"}
        token = provider.signed({**claims, "events": {LOGOUT_EVENT: {}}}, typ="at+jwt")
    assert await tell(browser, token) == 400
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_what_is_no_form(site: Site) -> None:
    browser = await site.browser()
    assert (await browser.client.post("/auth/backchannel-logout", json={"logout_token": "x"})).status_code == 415
    huge = {"logout_token": "x" * 20_000}
    assert (await browser.client.post("/auth/backchannel-logout", data=huge)).status_code == 413


async def test_a_logout_token_is_no_id_token(site: Site) -> None:
    """Nor can one be used to sign in (RFC 8725 section 3.11)."""
    signed = site.provider.signed
    site.provider.signed = lambda claims, _="": signed(claims, "logout+jwt")  # type: ignore[method-assign]
    browser = await site.browser()
    assert (await browser.sign_in(site.provider)).status_code == 400
