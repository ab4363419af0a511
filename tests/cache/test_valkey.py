"""The store in Valkey, against a real server that is stopped, frozen and killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from valkey.asyncio import Valkey

from bff_core.cache import ValkeyStore
from tests.cache.responses import stored
from tests.servers import ValkeyProcess as Server

PATIENT = 5.0  # seconds: for tests where the server answers, however busy the machine


class Clock:
    """The circuit's clock, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of this test's own."""
    running = Server()
    yield running
    running.close()


@pytest.fixture
def clock() -> Clock:
    """The time of the store under test."""
    return Clock()


@pytest.fixture
async def store(server: Server, clock: Clock) -> AsyncIterator[ValkeyStore]:
    """A store on the server, on the test's clock, with time enough for a busy machine."""
    opened = ValkeyStore(server.url, prefix="bff:", timeout=PATIENT, clock=clock)
    yield opened
    await opened.aclose()


@pytest.fixture
async def raw(server: Server) -> AsyncIterator[Any]:
    """Another client of the same server."""
    client = Valkey.from_url(server.url)
    yield client
    await client.aclose()


async def test_put_get_delete(store: ValkeyStore) -> None:
    """What was put is there until it is deleted."""
    entry = stored(body=os.urandom(100_000), vary=((b"accept", None),))
    assert await store.get(b"k") is None
    await store.put(b"k", entry, 60)
    assert await store.get(b"k") == entry
    await store.delete(b"k")
    assert await store.get(b"k") is None


async def test_prefix_and_ttl(store: ValkeyStore, raw: Any) -> None:
    """Entries stand under the prefix and carry their time to live; without one nothing is kept."""
    await store.put(b"k\xff", stored(), 60)
    await store.put(b"long", stored(), float("inf"))
    await store.put(b"short", stored(), 0)
    await store.put(b"none", stored(), float("nan"))
    assert set(await raw.keys()) == {b"bff:k\xff", b"bff:long"}
    assert 0 < await raw.pttl(b"bff:k\xff") <= 60_000


async def test_killed_and_restarted(store: ValkeyStore, server: Server, clock: Clock) -> None:
    """A killed server means misses and no exception; once it is back the store works again."""
    await store.put(b"k", stored(), 60)
    server.kill()
    assert await store.get(b"k") is None
    await store.put(b"k", stored(), 60)
    await store.delete(b"k")
    clock.now += 1
    assert await store.get(b"k") is None
    server.restart()
    clock.now += 1
    assert await store.get(b"k") is None  # it starts empty
    await store.put(b"k", stored(), 60)
    assert await store.get(b"k") == stored()


async def test_left_alone_after_a_failure(store: ValkeyStore, server: Server, clock: Clock) -> None:
    """For a second after a failure nothing is asked, though the server may be back."""
    await store.put(b"k", stored(), 60)
    server.kill()
    assert await store.get(b"k") is None
    server.restart()
    await store.put(b"k", stored(), 60)
    clock.now += 0.99
    assert await store.get(b"k") is None
    clock.now += 0.01
    await store.put(b"k", stored(), 60)
    assert await store.get(b"k") == stored()


async def test_one_tries_first(store: ValkeyStore, server: Server, clock: Clock) -> None:
    """When the second is over one operation asks, not all that wait for an answer."""
    server.kill()
    assert await store.get(b"k") is None
    clock.now += 1
    asked = 0
    real = store._client.get

    async def counted(name: bytes) -> Any:
        nonlocal asked
        asked += 1
        return await real(name)

    store._client.get = counted  # type: ignore[method-assign,assignment]
    assert await asyncio.gather(*(store.get(b"k") for _ in range(10))) == [None] * 10
    assert asked == 1


async def test_frozen(server: Server, clock: Clock) -> None:
    """A server that does not answer in time is a miss; its late answers go to no later question."""
    store = ValkeyStore(server.url, prefix="", timeout=1.0, clock=clock)
    one, two = stored(body=b"one"), stored(body=b"two")
    await store.put(b"1", one, 60)
    await store.put(b"2", two, 60)
    server.signal(signal.SIGSTOP)
    assert await asyncio.gather(*(store.get(b"1") for _ in range(5))) == [None] * 5
    server.signal(signal.SIGCONT)
    clock.now += 1
    assert await store.get(b"2") == two
    assert await asyncio.gather(*(store.get(b"%d" % (1 + i % 2)) for i in range(100))) == [one, two] * 50
    await store.aclose()


async def test_abandoned_operations_leave_no_mark(store: ValkeyStore) -> None:
    """Callers that go away in the midst of an operation take no connection and no one else's answer with them."""
    entries = {b"%d" % i: stored(body=b"%d" % i) for i in range(4)}
    for key, entry in entries.items():
        await store.put(key, entry, 60)
    for ticks in range(40):
        tasks = [asyncio.ensure_future(store.get(key)) for key in entries]
        for _ in range(ticks % 12):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for key, entry in entries.items():
            assert await store.get(key) == entry
    assert not store._client.connection_pool._in_use_connections


async def test_more_at_once_than_connections(store: ValkeyStore) -> None:
    """Operations above the number of connections wait for one."""
    await store.put(b"k", stored(), 60)
    assert await asyncio.gather(*(store.get(b"k") for _ in range(200))) == [stored()] * 200


async def test_foreign_values(store: ValkeyStore, raw: Any) -> None:
    """A value that is garbage, another key's or of another type is a miss, and no reason to stop asking."""
    await store.put(b"k", stored(), 60)
    await raw.set(b"bff:garbage", b"garbage")
    await raw.set(b"bff:moved", await raw.get(b"bff:k"))
    await raw.rpush(b"bff:list", b"x")
    for key in (b"garbage", b"moved", b"list"):
        assert await store.get(key) is None
        assert await store.get(b"k") == stored()


async def test_full(store: ValkeyStore, raw: Any) -> None:
    """A server without room refuses to keep more; what it has can still be had."""
    await store.put(b"k", stored(), 60)
    await raw.config_set("maxmemory", "1")
    await store.put(b"new", stored(), 60)
    assert await store.get(b"new") is None
    assert await store.get(b"k") == stored()


async def test_an_idle_connection_that_was_closed(store: ValkeyStore, raw: Any) -> None:
    """A connection that the server closed is opened anew, without a miss."""
    await store.put(b"k", stored(), 60)
    await raw.client_kill_filter(_type="normal", skipme=True)
    assert await store.get(b"k") == stored()


async def test_says_so_once(store: ValkeyStore, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many operations fail, the log has one line in ten seconds."""
    lines: list[tuple[float, str, Any]] = []
    log = SimpleNamespace(warning=lambda event, **fields: lines.append((clock.now, event, fields["operation"])))
    monkeypatch.setattr("bff_core.cache.valkey.log", log)
    server.kill()
    for _ in range(20):
        await store.get(b"k")
        clock.now += 1
    assert lines == [(1000.0, "cache_failed", "get"), (1010.0, "cache_failed", "get")]


async def test_closed(server: Server, clock: Clock) -> None:
    """After it was closed every operation is a miss; closing twice, or without a server, is fine."""
    store = ValkeyStore(server.url, prefix="", timeout=PATIENT, clock=clock)
    await store.put(b"k", stored(), 60)
    server.kill()
    await store.aclose()
    await store.aclose()
    await store.put(b"k", stored(), 60)
    assert await store.get(b"k") is None


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the client the error says what to install."""
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)
    with pytest.raises(ImportError, match=r"pip install bff-core\[valkey\]"):
        ValkeyStore("valkey://127.0.0.1", prefix="")


def test_a_wrong_url() -> None:
    """An address that is none is a mistake to be told at once."""
    with pytest.raises(ValueError, match="scheme"):
        ValkeyStore("http://127.0.0.1", prefix="")
