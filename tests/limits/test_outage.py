"""When the shared store is gone: documented answers, no 500, and back again by itself. Real servers, killed."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bff_core import Bff, Event, Page, Problem, Quota, RateLimit, Settings, create_bff, section
from bff_core.limits.fallback import LimitStore
from bff_core.limits.rules import SECOND, Concurrency, Decision, Gcra
from bff_core.limits.sql import SqlLimits
from bff_core.limits.store import Key, Limit, MemoryLimits
from bff_core.limits.valkey import ValkeyLimits
from bff_core.telemetry import Events
from bff_core.testing import bff_client
from tests.servers import PostgresProcess, ValkeyProcess

OPEN = [Limit("r", Gcra(2, 86400 * SECOND, 2))]
CLOSED = [Limit("r", Gcra(2, 86400 * SECOND, 2), fails_closed=True)]
KEYS = [("r",)]


class Flaky:
    """A store that does as it is told."""

    def __init__(self) -> None:
        self.inner = MemoryLimits()
        self.broken = False
        self.asked = 0

    async def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        self.asked += 1
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("valkey://user:secret@host")
        return self.inner.take(limits, keys, lease)

    async def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        await self.take([], [], "") if self.broken else self.inner.give_back(limits, keys, lease)

    async def aclose(self) -> None:
        pass


class Scene:
    """A limit store on a flaky one, with the clock and the events in hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.shared = Flaky()
        self.told: list[str] = []
        events = Events()
        events.subscribe(lambda event: self.told.append(f"{event.name} {event.detail}".strip()))
        self.store = LimitStore(self.shared, events, timeout=30, clock=lambda: self.now)

    async def take(self, limits: Sequence[Limit] = OPEN, lease: str = "") -> Decision:
        waiting = self.store.take(limits, KEYS, lease)
        return waiting if isinstance(waiting, Decision) else await waiting


async def test_alone_and_back() -> None:
    """Down: this process counts alone, at once. One call a second tries; when it succeeds, the others follow."""
    scene = Scene()
    assert not (await scene.take()).local
    scene.shared.broken = True
    decisions = await asyncio.gather(*(scene.take() for _ in range(4)))
    assert [decision.local for decision in decisions] == [True] * 4
    assert sum(decision.allowed for decision in decisions) == 2
    assert scene.store.down
    asked = scene.shared.asked
    scene.now += 0.99
    assert isinstance(scene.store.take(OPEN, KEYS, ""), Decision)
    scene.now += 0.02
    await asyncio.gather(*(scene.take() for _ in range(5)))
    assert scene.shared.asked == asked + 1
    scene.shared.broken = False
    assert (await scene.take()).local
    scene.now += 1
    back = await scene.take()
    assert (back.local, back.remaining, scene.store.down) == (False, 0, False)
    assert scene.told == ["OnStoreLost ConnectionError", "OnStoreBack"]


async def test_a_limit_that_fails_closed() -> None:
    """Nobody is let in who cannot be counted, and nothing is counted for him."""
    scene = Scene()
    scene.shared.broken = True
    for _ in range(2):  # the one who notices, and the one after
        with pytest.raises(Problem) as refused:
            await scene.take([*CLOSED])
        assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})
    assert len(scene.store.memory) == 0


async def test_places_are_given_back_where_they_were_taken() -> None:
    """A place that was taken alone frees one here, whatever the store has become meanwhile."""
    scene = Scene()
    places = [Limit("r", Concurrency(1, 60 * SECOND))]
    there = await scene.take(places, "1")
    scene.shared.broken = True
    assert not (await scene.take(places, "0")).local or scene.store.down
    here = await scene.take(places, "2")
    assert here.local
    scene.shared.broken, scene.store.down = False, False
    scene.store.give_back(places, KEYS, "0", local=True)
    scene.store.give_back(places, KEYS, "2", local=here.local)
    scene.store.give_back(places, KEYS, "1", local=there.local)
    await scene.store.aclose()
    assert scene.store.memory.take(places, KEYS, "3").allowed
    assert scene.shared.inner.take(places, KEYS, "3").allowed


async def test_one_line_in_the_log_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls fail; and what the client said, which may name the password, is not in it."""
    lines: list[Any] = []
    monkeypatch.setattr(
        "bff_core.limits.fallback.log", SimpleNamespace(warning=lambda event, **rest: lines.append((event, rest)))
    )
    scene = Scene()
    scene.shared.broken = True
    for _ in range(20):
        await scene.take()
        scene.now += 0.5
    scene.shared.broken = False
    scene.now += 1
    await scene.take()
    assert lines == [
        ("limits_store", {"change": "OnStoreLost", "error": "ConnectionError"}),
        ("limits_store", {"change": "OnStoreBack", "error": ""}),
    ]


async def test_a_frozen_valkey() -> None:
    """One that accepts and does not answer costs a call its time limit once; late answers go to nobody else."""
    server = ValkeyProcess()
    events = Events()
    now = 0.0
    store = LimitStore(ValkeyLimits(server.url, "t"), events, timeout=1.0, clock=lambda: now)
    try:
        assert not (await _settled(store.take(OPEN, [("a",)], ""))).local
        server.signal(signal.SIGSTOP)
        frozen = await asyncio.gather(*(_settled(store.take(OPEN, [("b",)], "")) for _ in range(5)))
        assert all(decision.local for decision in frozen)
        assert isinstance(store.take(OPEN, [("b",)], ""), Decision)  # no one else waits
        server.signal(signal.SIGCONT)
        now += 1
        for number in range(50):
            decision = await _settled(store.take(OPEN, [(f"c{number}",)], ""))
            assert (decision.local, decision.remaining) == (False, 1)
    finally:
        server.close()
        await store.aclose()


async def _settled(waiting: Any) -> Decision:
    decision: Decision = waiting if isinstance(waiting, Decision) else await waiting
    return decision


# -- whole gateways ---------------------------------------------------------------------------------------------------


class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"


def gateway(url: str) -> tuple[Bff, list[Event]]:
    app = create_bff("t", settings=Settings(log_level="CRITICAL", limits_url=url), clients=[])
    app.page("/open", Hello, public=True, limits=[RateLimit("open", "1000000/day", key="client_ip")])
    app.page(
        "/closed", Hello, public=True, limits=[Quota("closed", 10**6, per="month", key=(), on_store_failure="deny")]
    )
    told: list[Event] = []
    app.events.subscribe(told.append)
    assert app.limiter.store is not None
    app.limiter.store._timeout = 10.0  # the machine may be busy; what is tested here is a store that is gone
    return app, told


async def under_load(
    app: Bff, told: list[Event], kill: Callable[[], None], restart: Callable[[], Any]
) -> dict[str, set[int]]:
    """The statuses while the store is killed and restarted under load; ends when both pages are counted there again."""
    seen: dict[str, set[int]] = {"/open": set(), "/closed": set()}
    last: dict[str, int] = {}
    ending = asyncio.Event()

    async with bff_client(app) as client:

        async def load(path: str) -> None:
            while not ending.is_set():
                last[path] = (await client.get(path)).status_code
                seen[path].add(last[path])
                await asyncio.sleep(0.005)

        async def until(condition: Callable[[], bool]) -> None:
            for _ in range(3000):
                if condition():
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"{seen} {last} {told}")

        def store_down() -> bool:
            assert app.limiter.store is not None
            return app.limiter.store.down

        loads: list[asyncio.Task[None]] = [asyncio.ensure_future(load(path)) for path in [*seen] * 4]
        await until(lambda: last == {"/open": 200, "/closed": 200})
        assert not store_down()
        kill()
        await until(lambda: store_down() and last == {"/open": 200, "/closed": 503})
        await asyncio.to_thread(restart)
        await until(lambda: not store_down() and last == {"/open": 200, "/closed": 200})
        ending.set()
        await asyncio.gather(*loads)
    return seen


@pytest.mark.parametrize("kind", [ValkeyProcess, PostgresProcess])
async def test_killed_and_restarted_under_load(kind: type[ValkeyProcess | PostgresProcess]) -> None:
    """Pages under limits that fail open are served all the time, the others are 503 while it is gone; never 500."""
    server = kind()
    try:
        app, told = gateway(server.url)
        seen = await under_load(app, told, server.kill, server.restart)
    finally:
        server.close()
    assert seen == {"/open": {200}, "/closed": {200, 503}}
    names = [event.name for event in told]
    assert (names[0], names[-1]) == ("OnStoreLost", "OnStoreBack")
    if kind is ValkeyProcess:
        assert names[1] == "OnStoreBack"


async def test_a_store_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    """A gateway starts without it, and counts there once it has come."""
    server = PostgresProcess()
    try:
        server.kill()
        app, _ = gateway(server.url)
        async with bff_client(app) as client:
            assert (await client.get("/open")).status_code == 200
            assert (await client.get("/closed")).status_code == 503
            server.restart()
            assert app.limiter.store is not None
            for _ in range(500):
                await asyncio.sleep(0.05)
                if (await client.get("/closed")).status_code == 200:
                    return
            raise AssertionError("it was never found")
    finally:
        server.close()


async def test_a_sqlite_file_that_another_holds(tmp_path: Path) -> None:
    """A lock that is held for longer than a call may wait is an outage, and over when it is released. The answer does
    not wait for the file, whose driver cannot be interrupted."""
    path = tmp_path / "limits.db"
    app, _ = gateway(f"sqlite:///{path}")
    assert app.limiter.store is not None
    shared = app.limiter.store._shared
    assert isinstance(shared, SqlLimits)
    app.limiter.store._timeout = 20
    async with bff_client(app) as client:
        assert (await client.get("/closed")).status_code == 200
        app.limiter.store._timeout = 0.5
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert (await client.get("/closed")).status_code == 503
        assert shared._running
        assert (await client.get("/open")).status_code == 200
        other.execute("ROLLBACK")
        other.close()
        for _ in range(500):
            await asyncio.sleep(0.05)
            if (await client.get("/closed")).status_code == 200:
                return
        raise AssertionError("it was never released")
