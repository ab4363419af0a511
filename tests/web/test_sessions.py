"""How long sessions last, and what is kept of them."""

from __future__ import annotations

import json

import pytest

from bff_core import SettingsError
from bff_core.auth.sessions import Sealer, Session, Tokens
from bff_core.stores import KeyValueStore, MemoryKeyValueStore, StoreUnavailable

from .fakes import ISSUER, SESSION_KEYS, Browser, Clock, Site

pytestmark = pytest.mark.anyio


class Watched:
    """A store that counts what is done, and may be down."""

    def __init__(self, inner: KeyValueStore) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.values: dict[str, bytes] = {}
        self.down = False
        self.writes_fail = False

    def _note(self, call: str, *, write: bool = False) -> None:
        self.calls.append(call)
        if self.down or (write and self.writes_fail):
            raise StoreUnavailable("down")

    async def get(self, key: str) -> bytes | None:
        self._note("get")
        return await self.inner.get(key)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._note("put", write=True)
        self.values[key] = value
        await self.inner.put(key, value, ttl)

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        self._note("swap", write=True)
        self.values[key] = value
        return await self.inner.swap(key, expected, value, ttl)

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._note("delete", write=True)
        return await self.inner.delete(key, expected)

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.fixture
def store(site: Site) -> Watched:
    watched = Watched(site.store)
    site.store = watched
    return watched


async def signed_in(site: Site, **options: object) -> Browser:
    browser = await site.browser(**options)
    await browser.sign_in(site.provider)
    return browser


async def test_a_session_that_is_not_used_ends(site: Site) -> None:
    site.provider.lasts = None
    browser = await signed_in(site, idle=600)
    site.clock.now += 599
    assert (await browser.fetch("/api/me")).status_code == 200
    site.clock.now += 599
    assert (await browser.fetch("/api/me")).status_code == 200
    site.clock.now += 601
    ended = await browser.fetch("/api/me")
    assert ended.status_code == 401
    assert (ended.json()["type"], ended.json()["login"]) == ("urn:problem-type:bff:sign-in", "/auth/login")
    assert "location" not in ended.headers


async def test_a_session_that_is_used_goes_on(site: Site) -> None:
    """Also one that ends sooner than twice the time after which a use is written down."""
    site.provider.lasts = None
    browser = await signed_in(site, idle=90)
    for _ in range(10):
        site.clock.now += 50
        assert (await browser.fetch("/api/me")).status_code == 200


async def test_no_session_lasts_for_ever(site: Site) -> None:
    site.provider.lasts = None
    browser = await signed_in(site, idle=600, lifetime=1000)
    site.clock.now += 500
    assert (await browser.fetch("/api/me")).status_code == 200
    site.clock.now += 499
    assert (await browser.fetch("/api/me")).status_code == 200
    site.clock.now += 1
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_a_use_is_written_down_once_a_minute(site: Site, store: Watched) -> None:
    """And a request costs one read."""
    site.provider.lasts = None
    browser = await signed_in(site)
    store.calls.clear()
    for _ in range(10):
        await browser.fetch("/api/me")
        site.clock.now += 5.9
    assert store.calls == ["get"] * 10
    site.clock.now += 1
    store.calls.clear()
    for _ in range(3):
        await browser.fetch("/api/me")
    assert store.calls == ["get", "swap", "get", "get"]


async def test_a_public_page_reads_no_session(site: Site, store: Watched) -> None:
    browser = await signed_in(site)
    store.calls.clear()
    assert (await browser.fetch("/api/public")).status_code == 200
    assert not store.calls


async def test_what_the_browser_is_told_of_its_user(site: Site) -> None:
    """Claims and times; no token, and nothing that only the provider needs."""
    site.provider.lasts = None
    browser = await signed_in(site, idle=600, lifetime=1000)
    assert (await browser.fetch("/auth/user")).json() == {
        "claims": {"iss": ISSUER, "sub": "u1", "name": "Ann", "auth_time": int(site.clock())},
        "expires_in": 1000,
        "idle_in": 600,
    }
    site.clock.now += 300
    asked = await browser.fetch("/auth/user?slide=false")
    assert (asked.json()["expires_in"], asked.json()["idle_in"]) == (700, 300)
    assert asked.headers["cache-control"] == "no-store"
    asked = await browser.fetch("/auth/user")
    assert (asked.json()["expires_in"], asked.json()["idle_in"]) == (700, 600)
    site.clock.now += 350
    assert (await browser.fetch("/auth/user?slide=false")).status_code == 200
    site.clock.now += 251
    ended = await browser.fetch("/auth/user")
    assert (ended.status_code, ended.json()["login"]) == (401, "/auth/login")


async def test_asking_without_sliding_keeps_nothing_alive(site: Site) -> None:
    site.provider.lasts = None
    browser = await signed_in(site, idle=600)
    for _ in range(6):
        site.clock.now += 100
        answer = await browser.fetch("/auth/user?slide=false")
    assert answer.status_code == 401


async def test_nothing_in_the_store_can_be_read(site: Site, store: Watched) -> None:
    """Neither tokens, nor claims, nor the identifiers that browsers have."""
    browser = await signed_in(site)
    assert browser.session is not None
    everything = b"".join(key.encode() + value for key, value in store.values.items())
    for secret in (*site.provider.issued, *site.provider.grants, browser.session, "Ann"):
        assert secret.encode() not in everything


async def test_a_record_put_in_anothers_place_is_nobodys(site: Site, store: Watched) -> None:
    app = await site.gateway()
    alice, mallory = await site.browser(app), await site.browser(app)
    await alice.sign_in(site.provider)
    (of_alice,) = [key for key in store.values if key.startswith("session:")]
    await mallory.sign_in(site.provider)
    (of_mallory,) = [key for key in store.values if key.startswith("session:") and key != of_alice]
    await store.put(of_mallory, store.values[of_alice], 100)
    assert (await mallory.fetch("/api/me")).status_code == 401
    assert (await alice.fetch("/api/me")).status_code == 200


async def test_keys_change_without_signing_anybody_out(site: Site) -> None:
    new = "another key of thirty-two characters"
    before = await site.gateway()
    browser = await site.browser(before)
    await browser.sign_in(site.provider)
    both = await site.browser(keys=[new, *SESSION_KEYS])
    both.client.cookies = browser.client.cookies
    assert (await both.fetch("/api/me")).status_code == 200
    after = await site.browser(keys=[new])
    after.client.cookies = browser.client.cookies
    assert (await after.fetch("/api/me")).status_code == 401
    site.clock.now += 61  # the next use is sealed with the new one
    assert (await both.fetch("/api/me")).status_code == 200
    assert (await after.fetch("/api/me")).status_code == 200


async def test_the_store_is_down(site: Site, store: Watched) -> None:
    """Nobody is let in, nobody is signed out."""
    browser = await signed_in(site)
    store.down = True
    answer = await browser.fetch("/api/me")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "set-cookie" not in answer.headers
    assert (await browser.fetch("/auth/logout", "POST")).status_code == 503
    assert (await browser.fetch("/api/public")).status_code == 200
    address = site.provider.authorize(await browser.begin())
    assert (await browser.navigate(address)).status_code == 503
    store.down = False
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_a_store_that_can_only_be_read(site: Site, store: Watched) -> None:
    site.provider.lasts = None
    browser = await signed_in(site)
    store.writes_fail = True
    site.clock.now += 120
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_a_user_has_no_more_than_a_hundred_sessions(site: Site) -> None:
    app = await site.gateway()
    first = await site.browser(app)
    await first.sign_in(site.provider)
    second = await site.browser(app)
    await second.sign_in(site.provider)
    for _ in range(99):
        await (await site.browser(app)).sign_in(site.provider)
    assert (await first.fetch("/api/me")).status_code == 401
    assert (await second.fetch("/api/me")).status_code == 200


async def test_a_session_without_a_refresh_token_ends_with_its_access_token(site: Site) -> None:
    site.provider.offline = False
    browser = await signed_in(site)
    site.clock.now += 290
    assert (await browser.fetch("/api/me")).status_code == 200
    site.clock.now += 10
    assert (await browser.fetch("/api/me")).status_code == 401
    assert site.provider.refreshes == 0


def test_what_is_sealed_can_be_opened_and_not_be_changed() -> None:
    sealer = Sealer(SESSION_KEYS)
    sealed = sealer.seal("a", b"value")
    assert sealer.open("a", sealed) == b"value"
    assert sealer.seal("a", b"value") != sealed
    assert sealer.open("b", sealed) is None
    for at in range(len(sealed)):
        assert sealer.open("a", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
        assert sealer.open("a", sealed[:at]) is None


def test_what_another_key_sealed_cannot_be_opened() -> None:
    """Nor when it says that it was sealed by ours."""
    ours, other = Sealer(SESSION_KEYS), Sealer(["another key of thirty-two characters"])
    sealed, forged = ours.seal("a", b"value"), other.seal("a", b"value")
    assert ours.open("a", forged) is None
    assert ours.open("a", sealed[:4] + forged[4:]) is None


async def test_the_end_of_a_session_is_its_own_not_the_stores(site: Site, store: Watched) -> None:
    """A store that keeps values for longer, a backup that was put back: neither revives it. And it is removed."""
    site.provider.lasts = None
    browser = await signed_in(site, idle=600, lifetime=1000)
    (key,) = [name for name in store.values if name.startswith("session:")]
    for _ in range(2):
        site.clock.now += 495
        assert (await browser.fetch("/api/me")).status_code == 200
    kept = await store.inner.get(key)
    site.clock.now += 10
    assert await store.inner.get(key) is None
    await store.inner.put(key, kept or b"", 1000)
    assert (await browser.fetch("/api/me")).status_code == 401


def test_keys_that_are_none() -> None:
    for keys in ([], ["short"], "a text that is long enough, but no list of them"):
        with pytest.raises(SettingsError):
            Sealer(keys)


def test_a_session_survives_being_written_down() -> None:
    clock = Clock()
    tokens = Tokens("at", 300, "rt", None, frozenset({"b", "a"}))
    claims = {"iss": ISSUER, "sub": "u1", "groups": ["x"]}
    session = Session.begin(claims, tokens, frozenset(), "acme", 1000, clock())
    again = Session.load(session.dump())
    assert again == session
    assert again.principal == session.principal
    assert again.principal.tenant == "acme"
    assert (session.renew, session.until, session.ends) == (clock() + 240, clock() + 295, clock() + 1000)
    assert json.loads(session.dump())["scopes"] == ["a", "b"]


async def test_memory_needs_no_keys(site: Site) -> None:
    site.store = MemoryKeyValueStore(clock=site.clock)
    browser = await site.browser(store="memory://", keys=())
    await browser.sign_in(site.provider)
    assert (await browser.fetch("/api/me")).status_code == 200
