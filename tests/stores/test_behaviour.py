"""What every store does, whichever URL it was opened with."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bff_core.errors import SettingsError
from bff_core.stores import KeyValueStore, MemoryKeyValueStore, StoreUnavailable, open_store
from bff_core.stores.names import name_of
from bff_core.stores.valkey import ValkeyKeyValueStore
from bff_core.stores.values import SqlKeyValueStore
from tests.stores.conftest import PATIENT, Open

VALUES = [b"", b"\0", b"0", b"\xff" * 3, "Grüße, 世界 🌍".encode(), os.urandom(1024 * 1024)]
KEYS = ["k", "", "Grüße 世界 🌍", "a:b", "*", "' OR 1=1 --", "{x}", "a b", "\0", "\ud800", "\ud801", "x" * 10_000]


async def gone(store: KeyValueStore, key: str) -> None:
    for _ in range(2000):
        if await store.get(key) is None:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it has not ended")


async def lifetime(store: KeyValueStore, key: str) -> float:
    """What is left of it in seconds, as the store itself sees it."""
    if isinstance(store, MemoryKeyValueStore):
        return store._values[key][1] - store._clock()
    if isinstance(store, ValkeyKeyValueStore):
        return float(await store._client.pttl(store._name(key))) / 1000
    assert isinstance(store, SqlKeyValueStore)
    select = store._say.get.replace("SELECT value", "SELECT expires - " + store._say.get.rpartition(" > ")[2])
    left: Any = await store._driver.value(select, name_of(store._namespace, key))
    return float(left) / 1000


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)}B")
async def test_any_bytes_are_a_value(store: KeyValueStore, value: bytes) -> None:
    """What is put, swapped in, expected or deleted may be empty, binary or a megabyte."""
    assert await store.get("k") is None
    await store.put("k", value, 60)
    assert await store.get("k") == value
    assert not await store.swap("k", value + b"x", b"wrong", 60)
    assert not await store.swap("k", None, b"wrong", 60)
    assert await store.swap("k", value, b"new" + value, 60)
    assert await store.get("k") == b"new" + value
    assert not await store.delete("k", value)
    assert await store.delete("k", b"new" + value)
    assert await store.get("k") is None
    assert await store.swap("k", None, value, 60)
    assert await store.get("k") == value
    assert await store.delete("k")
    assert not await store.delete("k")


async def test_any_text_is_a_key(store: KeyValueStore) -> None:
    """Keys are told apart whatever users write into them."""
    for number, key in enumerate(KEYS):
        assert await store.swap(key, None, b"%d" % number, 60), key
    for number, key in enumerate(KEYS):
        assert await store.get(key) == b"%d" % number, key


async def test_put_writes_over(store: KeyValueStore) -> None:
    """The last one counts, with its own time to live."""
    await store.put("k", b"one", 60)
    await store.put("k", b"two", 600)
    assert await store.get("k") == b"two"
    assert 500 < await lifetime(store, "k") <= 600
    await store.put("k", b"three", 60)
    assert 0 < await lifetime(store, "k") <= 60


async def test_swap_brings_its_own_time_to_live(store: KeyValueStore) -> None:
    """Of what is there nothing stays."""
    assert await store.swap("k", None, b"one", 60)
    assert 0 < await lifetime(store, "k") <= 60
    assert await store.swap("k", b"one", b"two", 600)
    assert 500 < await lifetime(store, "k") <= 600
    assert not await store.swap("k", b"one", b"three", 6000)
    assert await lifetime(store, "k") <= 600


async def test_values_end(store: KeyValueStore) -> None:
    """What has ended is not there for anybody: not read, not expected, not deleted; a swap finds the place free."""
    for key in ("put", "swapped", "deleted"):
        await store.put(key, b"old", 0.02)
    assert await store.swap("added", None, b"old", 0.02)
    for key in ("put", "swapped", "deleted", "added"):
        await gone(store, key)
    assert not await store.swap("swapped", b"old", b"new", 60)
    assert not await store.delete("deleted")
    assert not await store.delete("deleted", b"old")
    for key in ("put", "swapped", "deleted", "added"):
        assert await store.swap(key, None, b"new", 60)
        assert await store.get(key) == b"new"


@pytest.mark.parametrize("ttl", [0, -1, -math.inf])
async def test_no_time_to_live(store: KeyValueStore, ttl: float) -> None:
    """It has ended already; what was there is gone, if it was to be replaced."""
    await store.put("k", b"one", 60)
    await store.put("k", b"two", ttl)
    assert await store.get("k") is None
    assert await store.swap("k", None, b"one", ttl)
    assert await store.get("k") is None
    await store.put("k", b"one", 60)
    assert not await store.swap("k", None, b"two", ttl)
    assert not await store.swap("k", b"two", b"two", ttl)
    assert await store.get("k") == b"one"
    assert await store.swap("k", b"one", b"two", ttl)
    assert await store.get("k") is None


async def test_shortest_longest_and_no_number(store: KeyValueStore) -> None:
    """A time to live may be under a millisecond or for ever; NaN is a mistake of the caller."""
    await store.put("short", b"x", 1e-9)
    await gone(store, "short")
    await store.put("long", b"x", math.inf)
    assert await store.get("long") == b"x"
    with pytest.raises(ValueError, match="number"):
        await store.put("k", b"x", math.nan)
    with pytest.raises(ValueError, match="number"):
        await store.swap("k", None, b"x", math.nan)


async def test_of_a_hundred_swaps_one_wins(store: KeyValueStore) -> None:
    """Both for a place that is free and for a value that is known."""
    won = await asyncio.gather(*(store.swap("k", None, b"%d" % i, 60) for i in range(100)))
    assert won.count(True) == 1
    known = b"%d" % won.index(True)
    assert await store.get("k") == known
    won = await asyncio.gather(*(store.swap("k", known, b"new%d" % i, 60) for i in range(100)))
    assert won.count(True) == 1
    assert await store.get("k") == b"new%d" % won.index(True)
    gone = await asyncio.gather(*(store.delete("k", b"new%d" % won.index(True)) for _ in range(100)))
    assert gone.count(True) == 1


async def test_namespaces_never_meet(url: str, opened: Open) -> None:
    """Gateways and rooms in one store see only their own, however alike their names are."""
    places = [("a", "b:k"), ("a:b", "k"), ("a", "b"), ("a:b:k", ""), ("", "a:b:k"), ("A", "b"), ("a\0b", "k")]
    stores = [opened(url, namespace) for namespace, _ in places]
    for number, (store, (_, key)) in enumerate(zip(stores, places, strict=True)):
        assert await store.swap(key, None, b"%d" % number, 60)
    for number, (store, (_, key)) in enumerate(zip(stores, places, strict=True)):
        assert await store.get(key) == b"%d" % number
    assert await stores[2].delete("b")
    assert await stores[5].get("b") == b"5"


async def test_stores_of_one_namespace_share(shared_url: str, opened: Open) -> None:
    """What one replica writes the others read; what it closes stays."""
    one, two = opened(shared_url), opened(shared_url)
    await one.put("k", b"x", 60)
    assert await two.get("k") == b"x"
    await one.aclose()
    assert await two.swap("k", b"x", b"y", 60)
    assert await opened(shared_url).get("k") == b"y"


async def test_leaving_in_the_midst(store: KeyValueStore) -> None:
    """Callers that go away take no connection, no slot and no one else's answer with them."""
    keys = [f"{number}" for number in range(4)]
    for key in keys:
        await store.put(key, key.encode(), 60)
    for ticks in range(60):
        reads = [asyncio.ensure_future(store.get(key)) for key in keys]
        writes = [asyncio.ensure_future(store.swap("n", None, b"x", 60)), asyncio.ensure_future(store.delete("n"))]
        for _ in range(ticks % 15):
            await asyncio.sleep(0)
        for task in (*reads, *writes):
            task.cancel()
        await asyncio.gather(*reads, *writes, return_exceptions=True)
        assert [await store.get(key) for key in keys] == [key.encode() for key in keys]
    await asyncio.gather(*(store.get("0") for _ in range(100)))
    assert slots(store) == 8


def slots(store: KeyValueStore) -> int:
    """How many calls could be carried out at once."""
    if isinstance(store, ValkeyKeyValueStore):
        assert not store._client.connection_pool._in_use_connections
        return store._free._value
    driver: Any = getattr(store, "_driver", None)
    return int(driver._free._value) if hasattr(driver, "_free") else 8


async def test_leaving_the_very_first_call(url: str, opened: Open) -> None:
    """Whoever comes first and leaves does not keep the store from being made ready for the others."""
    for ticks in range(30):
        store = opened(url, f"n{ticks}")
        first = asyncio.ensure_future(store.put("k", b"x", 60))
        for _ in range(ticks):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await store.put("k", b"y", 60)
        assert await store.get("k") == b"y"


async def test_closed(store: KeyValueStore) -> None:
    """Every later call says so; closing twice is fine."""
    await store.put("k", b"x", 60)
    await store.aclose()
    await store.aclose()
    calls = [store.get("k"), store.put("k", b"x", 1), store.swap("k", None, b"x", 1), store.delete("k")]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call


async def test_closed_before_it_was_opened(url: str) -> None:
    """A store that nobody used can be closed."""
    await open_store(url, namespace="n").aclose()


WORKER = """
import asyncio, sys
from bff_core.stores import open_store

async def main():
    store = open_store(sys.argv[1], namespace="n", timeout=20)
    sys.stdin.readline()
    async def add(count):
        for _ in range(count):
            while True:
                known = await store.get("sum")
                if await store.swap("sum", known, b"%d" % (int(known or b"0") + 1), 60):
                    break
    for turn in range(10):
        won = await asyncio.gather(*(store.swap(f"{turn}", None, b"x", 60) for i in range(20)))
        print(turn, won.count(True))
    await asyncio.gather(*(add(10) for _ in range(5)))
    await store.aclose()

asyncio.run(main())
"""


async def test_two_processes(shared_url: str, opened: Open) -> None:
    """They start at once on an empty store; of all their swaps one wins each turn, and no addition is lost."""
    root = str(Path(__file__).parents[2])
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", "-c", WORKER, shared_url, stdin=pipe, stdout=pipe, env={"PYTHONPATH": root}
        )
        for _ in range(2)
    ]
    answers = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0, 0]
    won: Counter[str] = Counter()
    for line in b"".join(output for output, _ in answers).decode().splitlines():
        turn, count = line.split()
        won[turn] += int(count)
    assert won == {f"{turn}": 1 for turn in range(10)}
    assert await opened(shared_url, "n").get("sum") == b"100"


async def test_what_has_ended_is_swept(shared_url: str) -> None:
    """Of values that nobody asks for again none stays, and of those that live none is lost."""
    now = [0.0]
    store = open_store(shared_url, namespace="n", timeout=PATIENT, clock=lambda: now[0])
    other = open_store(shared_url, namespace="other", timeout=PATIENT)
    await asyncio.gather(*(store.put(f"{number}", b"x", 0.001) for number in range(50)))
    await other.put("k", b"x", 0.001)
    await store.put("living", b"x", 60)
    await gone(store, "0")
    await gone(other, "k")
    now[0] += 59.9
    await store.put("living", b"y", 60)
    assert getattr(store, "_sweeping", None) is None
    now[0] += 0.1
    await store.put("living", b"z", 60)
    if isinstance(store, SqlKeyValueStore):
        swept = store._sweeping
        assert swept is not None
        await swept
        await store.put("living", b"z", 60)
        assert store._sweeping is swept  # the next is due in a minute
        rows: Any = await store._driver.value("SELECT count(*) FROM bff_values")
        assert rows == 1
    else:
        assert isinstance(store, ValkeyKeyValueStore)
        for _ in range(500):  # it does so itself
            if await store._client.dbsize() == 1:
                break
            await asyncio.sleep(0.02)
        assert await store._client.dbsize() == 1
    assert await store.get("living") == b"z"
    await store.aclose()
    await other.aclose()


async def test_what_stands_in_the_store(shared_url: str, opened: Open, tmp_path: Path) -> None:
    """No key does: it may be what opens a session."""
    await opened(shared_url).put("secret-session-id", b"value", 60)
    if shared_url.startswith("sqlite"):
        raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())  # noqa: ASYNC240
    elif shared_url.startswith("valkey"):
        store = opened(shared_url)
        assert isinstance(store, ValkeyKeyValueStore)
        raw = b"".join(await store._client.keys())
        assert raw.startswith(b"bff:web:test:")
    else:
        store = opened(shared_url)
        assert isinstance(store, SqlKeyValueStore)
        raw = await store._driver.value("SELECT string_agg(t::text, '') FROM bff_values t") or b""
    assert len(raw) > 30
    assert "secret" not in str(raw)


MALFORMED = [
    "postgresql://user:hunter2@host:hunter2/db",
    "valkey://:hunter2@host:hunter2",
    "redis://:hunter2@host:1?db=hunter2",
    "mysql://user:hunter2@host/db",
    "hunter2",
    "memory://hunter2",
    "sqlite://hunter2",
    "sqlite:///",
    "sqlite:///:memory:",
    "sqlite:////tmp/x?mode=hunter2",
    "",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_another_url_is_refused_and_not_repeated(url: str) -> None:
    """The mistake is told, the password is not."""
    with pytest.raises(SettingsError) as caught:
        open_store(url, namespace="n")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is told when the store is opened."""
    with pytest.raises(SettingsError, match="is no folder"):
        open_store(f"sqlite:///{tmp_path}/missing/x.db", namespace="n")


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [
        ("valkey.asyncio", "valkey://127.0.0.1", "valkey"),
        ("sqlalchemy.ext.asyncio", "sqlite:////tmp/x.db", "sql"),
        ("asyncpg", "postgresql://127.0.0.1/x", "sql"),
    ],
)
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, module: str, url: str, extra: str) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install bff-core\[{extra}\]"):
        open_store(url, namespace="n")
