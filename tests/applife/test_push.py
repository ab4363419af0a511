"""Push tokens: over every store, and over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_core import AppLife, DeclarationError, Principal, PushToken, PushTokens, TokenGone
from bff_core.stores import KeyValueStore, MemoryKeyValueStore, StoreUnavailable, open_store
from bff_core.testing import FakeServices, bff_client

from .conftest import make_app

pytestmark = pytest.mark.anyio
ANNA, BERTA = Principal("anna"), Principal("berta")
DAY = 86_400


def token(name: str) -> PushToken:
    return PushToken(platform="ios", token=name)


async def installs(tokens: PushTokens, who: Principal) -> dict[str, str]:
    return {one.install: one.token for one in await tokens.of(who)}


class Provider:
    """Remembers what it was to send; ``wait`` holds it up, ``gone`` are tokens it does not know any more."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.gone: set[str] = set()
        self.wait = asyncio.Event()
        self.wait.set()

    async def poke(self, token: PushToken) -> None:
        await self.wait.wait()
        self.sent.append(token.token)
        if token.token in self.gone:
            raise TokenGone
        if token.token == "broken":
            raise OSError("no network")


@pytest.fixture(params=["memory", "sqlite", "valkey", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyValueStore]:
    names = {"postgresql": "postgres_url", "valkey": "valkey_url"}
    if request.param in names:
        url = str(request.getfixturevalue(names[request.param]))
    else:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/push.db"}[request.param]
    opened = open_store(url, namespace="mobile:push", timeout=20)
    yield opened
    await opened.aclose()


async def test_an_installation_has_one_token(store: KeyValueStore) -> None:
    tokens = PushTokens(store)
    for _ in range(2):  # sent again, it is the same
        await tokens.register(ANNA, "phone", token("t1"))
    await tokens.register(ANNA, "tablet", token("t2"))
    await tokens.register(ANNA, "phone", token("t3"))
    assert await installs(tokens, ANNA) == {"tablet": "t2", "phone": "t3"}
    assert await installs(tokens, BERTA) == {}
    for _ in range(2):
        await tokens.remove(ANNA, "phone")
    await tokens.remove(BERTA, "tablet")
    assert await installs(tokens, ANNA) == {"tablet": "t2"}


async def test_a_token_is_one_principals(store: KeyValueStore) -> None:
    """Who signs in on a device gets its pushes; who was signed in before does not."""
    tokens = PushTokens(store)
    await tokens.register(ANNA, "phone", token("t1"))
    await tokens.register(BERTA, "phone", token("t1"))
    assert (await installs(tokens, ANNA), await installs(tokens, BERTA)) == ({}, {"phone": "t1"})


async def test_who_knows_an_installation_cannot_take_it(store: KeyValueStore) -> None:
    tokens = PushTokens(store)
    await tokens.register(ANNA, "phone", token("t1"))
    await tokens.register(BERTA, "phone", token("other"))
    await tokens.remove(BERTA, "phone")
    assert await installs(tokens, ANNA) == {"phone": "t1"}


async def test_what_the_provider_does_not_know_is_dropped(store: KeyValueStore) -> None:
    tokens = PushTokens(store)
    await tokens.register(ANNA, "phone", token("t1"))
    await tokens.register(ANNA, "tablet", token("t2"))
    for _ in range(2):
        await tokens.gone("t1")
    await tokens.gone("never seen")
    assert await installs(tokens, ANNA) == {"tablet": "t2"}


async def test_all_at_once(store: KeyValueStore) -> None:
    """Nobody's registration is lost to another that came at the same time."""
    tokens = PushTokens(store)
    await asyncio.gather(*(tokens.register(ANNA, f"i{number}", token(f"t{number}")) for number in range(4)))
    assert len(await tokens.of(ANNA)) == 4


@pytest.mark.parametrize("at", range(6))
async def test_whoever_came_last_has_the_token(at: int) -> None:
    """Anna's registration is overtaken before any of its calls of the store: nobody gets Berta's pushes."""

    class Halting(MemoryKeyValueStore):
        left = -1

        async def _halt(self) -> None:
            self.left -= 1
            if self.left == -1:
                await overtaken()

        async def get(self, key: str) -> bytes | None:
            await self._halt()
            return await super().get(key)

        async def put(self, key: str, value: bytes, ttl: float) -> None:
            await self._halt()
            await super().put(key, value, ttl)

        async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
            await self._halt()
            return await super().swap(key, expected, value, ttl)

    store = Halting()
    provider = Provider()
    tokens = PushTokens(store, provider)
    berta_came = []

    async def overtaken() -> None:
        store.left = -1000
        await tokens.register(BERTA, "phone", token("t1"))
        berta_came.append(True)

    store.left = at
    await tokens.register(ANNA, "phone", token("t1"))
    if not berta_came:
        await overtaken()
    both = [await installs(tokens, ANNA), await installs(tokens, BERTA)]
    assert both.count({"phone": "t1"}) <= 1, "one token, two principals"
    for who in (ANNA, BERTA):
        tokens.poke(who)
    await settle(tokens)
    assert len(provider.sent) <= 1


async def test_twenty_at_the_most_and_270_days() -> None:
    now = [0.0]
    tokens = PushTokens(open_store("memory://", namespace="x"), clock=lambda: now[0])
    for number in range(25):
        now[0] += 1
        await tokens.register(ANNA, f"i{number}", token(f"t{number}"))
    assert list(await installs(tokens, ANNA)) == [f"i{number}" for number in range(5, 25)]
    now[0] += 269 * DAY
    await tokens.register(ANNA, "i24", token("t24"))
    now[0] += 2 * DAY
    assert list(await installs(tokens, ANNA)) == ["i24"]


STEP = st.tuples(
    st.sampled_from(["register", "remove", "gone"]),
    st.sampled_from([ANNA, BERTA]),
    st.sampled_from(["i1", "i2"]),
    st.sampled_from(["t1", "t2", "t3"]),
)


@given(st.lists(STEP, max_size=15))
@settings(max_examples=60)
def test_as_a_table_would_have_it(steps: list[tuple[str, Principal, str, str]]) -> None:
    """The model: rows of (token, owner, installation), unique by token and by owner and installation."""

    async def run() -> None:
        tokens = PushTokens(open_store("memory://", namespace="x"))
        rows: set[tuple[str, str, str]] = set()
        for op, who, install, name in steps:
            if op == "register":
                await tokens.register(who, install, token(name))
                rows = {row for row in rows if row[0] != name and row[1:] != (who.subject, install)}
                rows.add((name, who.subject, install))
            elif op == "remove":
                await tokens.remove(who, install)
                rows = {row for row in rows if row[1:] != (who.subject, install)}
            else:
                await tokens.gone(name)
                rows = {row for row in rows if row[0] != name}
            found = {(one.token, who.subject, one.install) for who in (ANNA, BERTA) for one in await tokens.of(who)}
            assert found == rows

    asyncio.run(run())


async def settle(tokens: PushTokens) -> None:
    while tokens._tasks:
        await asyncio.gather(*tokens._tasks)


async def test_a_poke_reaches_every_installation() -> None:
    provider = Provider()
    tokens = PushTokens(open_store("memory://", namespace="x"), provider)
    for name in ("broken", "dead", "well"):
        await tokens.register(ANNA, name, token(name))
    await tokens.register(BERTA, "hers", token("hers"))
    provider.gone = {"dead"}
    tokens.poke(ANNA)
    await settle(tokens)
    assert provider.sent == ["broken", "dead", "well"]
    assert list(await installs(tokens, ANNA)) == ["broken", "well"]


async def test_pokes_that_come_together_are_two() -> None:
    """One is on its way, with what had changed then; one more tells of the rest."""
    provider = Provider()
    tokens = PushTokens(open_store("memory://", namespace="x"), provider)
    await tokens.register(ANNA, "i1", token("t1"))
    provider.wait.clear()
    tokens.poke(ANNA)
    await asyncio.sleep(0)
    for _ in range(10):
        tokens.poke(ANNA)
    provider.wait.set()
    await settle(tokens)
    assert provider.sent == ["t1", "t1"]
    tokens.poke(ANNA)
    await settle(tokens)
    assert len(provider.sent) == 3


@pytest.mark.parametrize("turns", range(8))
async def test_no_poke_is_lost_as_a_delivery_ends(turns: int) -> None:
    """In whatever turn of the loop after the provider's last answer it comes."""
    provider = Provider()
    tokens = PushTokens(open_store("memory://", namespace="x"), provider)
    await tokens.register(ANNA, "i1", token("t1"))
    tokens.poke(ANNA)
    while not provider.sent:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    tokens.poke(ANNA)
    await settle(tokens)
    assert provider.sent == ["t1", "t1"]


async def test_there_is_an_end_to_pokes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bff_core.applife.push.MOST_POKES", 2)
    provider = Provider()
    provider.wait.clear()
    tokens = PushTokens(open_store("memory://", namespace="x"), provider)
    for name in "abc":
        await tokens.register(Principal(name), name, token(name))
        tokens.poke(Principal(name))
    assert len(tokens._tasks) == 2
    await tokens.aclose()
    assert (provider.sent, len(tokens._tasks), tokens._pokes) == ([], 0, {})


async def test_pokes_without_a_provider_or_a_store() -> None:
    PushTokens().poke(ANNA)
    with pytest.raises(StoreUnavailable):
        await PushTokens().register(ANNA, "i", token("t"))
    closed, provider = open_store("memory://", namespace="x"), Provider()
    tokens = PushTokens(closed, provider)
    await closed.aclose()
    tokens.poke(ANNA)
    await settle(tokens)
    assert tokens._pokes == {}


async def test_over_http(services: FakeServices) -> None:
    tokens = PushTokens("memory://")
    app = make_app(services, AppLife(push=tokens))
    body: dict[str, Any] = {"platform": "android", "token": "fcm:1"}
    async with bff_client(app, headers={"x-user": "anna"}) as client:
        for _ in range(2):
            answer = await client.put("/push/install-1", json=body)
            assert (answer.status_code, answer.content) == (204, b"")
        assert await installs(tokens, ANNA) == {"install-1": "fcm:1"}
        for _ in range(2):
            assert (await client.delete("/push/install-1")).status_code == 204
        assert await tokens.of(ANNA) == []
        assert (await client.put("/push/install-1", json=body, headers={"x-user": ""})).status_code == 401
        assert (await client.put("/push/short", json=body)).status_code == 422
        for wrong in ({}, {**body, "token": ""}, {**body, "token": "with space"}, {**body, "user": "berta"}):
            assert (await client.put("/push/install-1", json=wrong)).status_code == 422
        await tokens._store.aclose()
        assert (await client.put("/push/install-1", json=body)).status_code == 503
        assert (await client.delete("/push/install-1")).headers["retry-after"] == "5"


async def test_a_sync_that_changed_something_pokes(services: FakeServices) -> None:
    provider = Provider()
    tokens = PushTokens("memory://", provider)
    app = make_app(services, AppLife(push=tokens), on_poke=tokens.poke)
    async with bff_client(app, headers={"x-user": "anna"}) as client:
        await client.put("/push/tablet-1", json={"platform": "ios", "token": "t1"})
        mutation = {"seq": 1, "id": "m1", "op": "make", "args": {"thing": {"id": "t2"}}}
        await client.post("/sync", json={"client": "phone", "mutations": [mutation]})
        await settle(tokens)
        assert provider.sent == ["t1"]
        await client.post("/sync", json={"client": "phone", "mutations": [mutation]})
        await settle(tokens)
    assert provider.sent == ["t1"], "what was done before is no news"


def test_tokens_must_be_somebodys(services: FakeServices) -> None:
    with pytest.raises(DeclarationError, match="no authentication"):
        make_app(services, AppLife(push=PushTokens()), auth=None)
