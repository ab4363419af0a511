"""One behaviour of limits on every store: memory, and real Valkey, SQLite and PostgreSQL servers."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from valkey.asyncio import Valkey

from bff_core.limits.rules import SECOND, CalendarQuota, Concurrency, Decision, Gcra
from bff_core.limits.sql import SqlLimits
from bff_core.limits.store import Key, Limit, MemoryLimits, SharedLimits, wall_clock
from bff_core.limits.valkey import ValkeyLimits

DAY = 86400 * SECOND
ROOT = Path(__file__).parents[2]
SHARED = ["valkey", "sqlite", "postgresql"]


class Memory:
    """The memory, as the shared stores look."""

    def __init__(self) -> None:
        self.inner = MemoryLimits()

    async def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        return self.inner.take(limits, keys, lease)

    async def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        self.inner.give_back(limits, keys, lease)

    async def aclose(self) -> None:
        pass


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/limits.db"
    return str(request.getfixturevalue(f"{kind.replace('postgresql', 'postgres')}_url"))


def open_limits(url: str, gateway: str = "web", clock: Callable[[], int] = wall_clock) -> SharedLimits:
    kind = ValkeyLimits if url.startswith("valkey") else SqlLimits
    return kind(url, gateway, clock=clock)


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind that processes share."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=["memory", *SHARED])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SharedLimits]:
    """An empty store of each kind."""
    opened = Memory() if request.param == "memory" else open_limits(url_of(request.param, request, tmp_path))
    yield opened
    await opened.aclose()


def rate(burst: int, name: str = "rate") -> Limit:
    return Limit(name, Gcra(burst, DAY, burst))


def quota(most: int, name: str = "quota") -> Limit:
    return Limit(name, CalendarQuota(most, "month", UTC, "UTC"))


def places(most: int, lease: int = DAY) -> Limit:
    return Limit("places", Concurrency(most, lease))


@pytest.mark.parametrize("limit", [rate(3), quota(3), places(3)], ids=lambda limit: limit.name)
async def test_each_kind_of_limit(store: SharedLimits, limit: Limit) -> None:
    """As many calls as it says, each told what remains; then refusals that say when to come again; per key."""
    decisions = [await store.take([limit], [("a",)], str(number)) for number in range(4)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]
    refused = decisions[-1]
    assert (refused.policy, refused.violated) == (limit.name, (limit.name,))
    assert refused.retry_after > 0
    assert refused.retry_after == (1 if limit.name == "places" else refused.reset)
    assert (await store.take([limit], [("b",)], "b")).remaining == 2


async def test_several_at_once(store: SharedLimits) -> None:
    """The strictest decides, and a call that one refuses is counted by none."""
    limits = [rate(5), quota(2), places(4)]
    keys = [("r",), ("q",), ("p",)]
    first = await store.take(limits, keys, "1")
    assert (first.allowed, first.policy, first.remaining) == (True, "quota", 1)
    assert (await store.take(limits, keys, "2")).remaining == 0
    for number in range(5):
        refused = await store.take(limits, keys, f"x{number}")
        assert (refused.allowed, refused.policy, refused.violated) == (False, "quota", ("quota",))
    assert (await store.take([rate(5)], [("r",)], "")).remaining == 2
    assert (await store.take([places(4)], [("p",)], "3")).remaining == 1
    await store.take([places(4)], [("p",)], "4")
    both = await store.take(limits, keys, "5")
    assert both.violated == ("quota", "places")


async def test_given_back(store: SharedLimits) -> None:
    """A call that shall not have been is not counted any more; an end frees its own place, once."""
    limits, keys = [rate(2), quota(2), places(2)], [("r",), ("q",), ("p",)]
    for number in range(2):
        assert (await store.take(limits, keys, str(number))).allowed
    await store.give_back(limits, keys, "0")
    assert (await store.take(limits, keys, "2")).allowed
    assert not (await store.take(limits, keys, "3")).allowed
    await store.give_back([places(2)], [("p",)], "0")
    assert (await store.take(limits, keys, "3")).violated == ("rate", "quota", "places")
    await store.give_back([rate(2), quota(2), places(2)], [("none",), ("none2",), ("none3",)], "7")
    assert (await store.take(limits, [("none",), ("none2",), ("none3",)], "7")).remaining == 1


async def test_who_is_in_stays_by_asking_again(store: SharedLimits) -> None:
    """It takes no second place, and keeps its own although all are taken."""
    limits, keys = [places(2)], [("p",)]
    assert (await store.take(limits, keys, "1")).remaining == 1
    assert (await store.take(limits, keys, "1")).remaining == 1
    assert (await store.take(limits, keys, "2")).remaining == 0
    assert (await store.take(limits, keys, "1")).allowed
    assert not (await store.take(limits, keys, "3")).allowed


async def test_a_lease_ends(store: SharedLimits) -> None:
    """A place whose holder was never heard of again is free when its lease is over."""
    short = places(1, lease=SECOND // 2)
    assert (await store.take([short], [("p",)], "1")).allowed
    assert not (await store.take([short], [("p",)], "2")).allowed
    for _ in range(200):
        await asyncio.sleep(0.05)
        if (await store.take([short], [("p",)], "3")).allowed:
            return
    raise AssertionError("the lease never ended")


async def test_a_better_plan(store: SharedLimits) -> None:
    """More of a quota counts at once, and a faster rate is not held up by what the slower one remembered."""
    for _ in range(2):
        await store.take([quota(1), Limit("rate", Gcra(1, DAY, 1))], [("q",), ("r",)], "")
    assert (await store.take([quota(3)], [("q",)], "")).remaining == 1
    fast = Limit("rate", Gcra(1_000_000, SECOND, 1))
    await store.take([fast], [("r",)], "")
    assert (await store.take([fast], [("r",)], "")).allowed


async def test_200_at_once(store: SharedLimits) -> None:
    """Exactly as many as there may be, under all kinds of limits together, locked in any order."""
    limits, keys = [rate(90), quota(70), places(50)], [("r",), ("q",), ("p",)]

    async def take(number: int) -> Decision:
        if number % 2:
            return await store.take(limits, keys, str(number))
        return await store.take(limits[::-1], keys[::-1], str(number))

    decisions = await asyncio.gather(*(take(number) for number in range(200)))
    assert sum(decision.allowed for decision in decisions) == 50
    assert (await store.take([rate(90)], [("r",)], "")).remaining == 39
    assert (await store.take([quota(70)], [("q",)], "")).remaining == 19


PROGRAM = """
import asyncio, sys
from datetime import UTC
from bff_core.limits.rules import SECOND, CalendarQuota, Gcra
from bff_core.limits.sql import SqlLimits
from bff_core.limits.store import Limit
from bff_core.limits.valkey import ValkeyLimits

async def main(url):
    store = (ValkeyLimits if url.startswith("valkey") else SqlLimits)(url, "web")
    limits = [Limit("r", Gcra(60, 86400 * SECOND, 60)), Limit("q", CalendarQuota(80, "month", UTC, "UTC"))]
    print("ready", flush=True)
    sys.stdin.readline()
    calls = (store.take(limits, [("r",), ("q",)], str(number)) for number in range(100))
    print(sum(decision.allowed for decision in await asyncio.gather(*calls)))
    await store.aclose()

asyncio.run(main(sys.argv[1]))
"""


def test_two_processes(url: str) -> None:
    """Two processes, two hundred calls at a limit of sixty: sixty come through."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, url]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [int(process.communicate(timeout=50)[0]) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert sum(counts) == 60


async def test_gateways_and_replicas(url: str) -> None:
    """Replicas of a gateway count together, other gateways for themselves."""
    one, replica, other = open_limits(url), open_limits(url), open_limits(url, "mobile")
    assert (await one.take([quota(5)], [("k",)], "")).remaining == 4
    assert (await replica.take([quota(5)], [("k",)], "")).remaining == 3
    assert (await other.take([quota(5)], [("k",)], "")).remaining == 4
    for opened in (one, replica, other):
        await opened.aclose()


@pytest.mark.parametrize("kind", ["valkey", "postgresql"])
async def test_the_clock_is_the_stores(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A gateway whose own clock is years off decides as the others do."""
    where = url_of(kind, request, tmp_path)
    berlin = CalendarQuota(10, "month", ZoneInfo("Europe/Berlin"), "Europe/Berlin")
    limits, keys = [Limit("q", berlin), rate(10)], [("q",), ("r",)]
    right = open_limits(where)
    before = await right.take(limits, keys, "")
    for off in (-400 * DAY, 400 * DAY):
        wrong = open_limits(where, clock=lambda off=off: wall_clock() + off)  # type: ignore[misc]
        for which in (keys, [("q", str(off)), ("r", str(off))]):
            decision = await wrong.take(limits, which, "")
            assert before.reset is not None
            assert decision.reset is not None
            assert before.reset - 60 <= decision.reset <= before.reset
        await wrong.aclose()
    assert (await right.take(limits, keys, "")).remaining == 6
    await right.aclose()


async def test_keys_in_valkey(valkey_url: str) -> None:
    """One node of a cluster has all of them, they end by themselves, and none says whose it is."""
    store = ValkeyLimits(valkey_url, "web")
    limits = [rate(5), quota(5), places(5)]
    whose = [("api", "alice@example.com"), ("q", "alice@example.com"), ("p", "ali\ud800ce")]
    await store.take(limits, whose, "1")
    client = Valkey.from_url(valkey_url)
    keys = await client.keys()
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(b"{bff:web}:limit:")
        assert b"alice" not in key
        assert 0 < await client.pttl(key) <= 32 * DAY // 1000
    arrival = await client.get(store._names(whose)[0])
    assert re.fullmatch(rb"[0-9]{16}", arrival)  # to the microsecond
    await client.aclose()
    await store.aclose()


async def test_a_valkey_that_was_emptied(valkey_url: str) -> None:
    """Neither its data nor the script need to be there."""
    store, client = ValkeyLimits(valkey_url, "web"), Valkey.from_url(valkey_url)
    await store.take([quota(5)], [("k",)], "")
    await client.flushall()
    await client.script_flush()
    assert (await store.take([quota(5)], [("k",)], "")).remaining == 4
    await client.aclose()
    await store.aclose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_rows_that_are_over_go(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Now and then what is over is removed, and nothing else; keys say nothing of whose they are."""
    store = SqlLimits(url_of(kind, request, tmp_path), "web")
    short = Limit("r", Gcra(1, SECOND // 1000, 1))
    for number in range(20):
        await store.take([short], [("r", f"alice {number}")], "")
    await store.take([quota(5)], [("q",)], "")
    await asyncio.sleep(0.05)
    store._purge_at = 0
    await store.take([quota(5)], [("q",)], "")
    async with store._engine.connect() as connection:
        keys = (await connection.execute(text("SELECT key FROM bff_limits"))).scalars().all()
    assert len(keys) == 1
    assert keys[0].startswith("web:")
    await store.aclose()


calls = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["take", "take", "take", "back"]), st.integers(1, 7)), max_size=25
)


@given(calls)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_script_is_the_rules_twin(valkey_url: str, steps: list[tuple[str, str, int]]) -> None:
    """Whatever is asked, Valkey and the memory decide the same."""
    client = Valkey.from_url(valkey_url)
    await client.flushall()
    await client.aclose()
    shared, memory = ValkeyLimits(valkey_url, "web"), MemoryLimits()
    everything = [rate(4), quota(6), places(3)]
    for number, (key, action, which) in enumerate(steps):
        limits = [limit for bit, limit in enumerate(everything) if which >> bit & 1]
        keys = [(limit.name, key) for limit in limits]
        if action == "back":
            await shared.give_back(limits, keys, str(number - 2))
            memory.give_back(limits, keys, str(number - 2))
            continue
        there, here = await shared.take(limits, keys, str(number)), memory.take(limits, keys, str(number))
        assert there[:3] == here[:3]
        assert there.violated == here.violated
        assert there.reset == here.reset or abs((there.reset or 0) - (here.reset or 0)) <= 30
    await shared.aclose()
