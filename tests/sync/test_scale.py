"""What a sync costs: bytes, requests to the services, memory and the store's bytes, counted rather than timed."""

from __future__ import annotations

import sys
import tracemalloc
from dataclasses import dataclass
from typing import Any

import pytest

from bff_core import Sync
from bff_core.testing import bff_client

from .conftest import Clock, World, make_app
from .device import Device
from .shop import Shop
from .stores import MemoryStore

pytestmark = pytest.mark.anyio


async def test_a_sync_without_news_of_1000_items(world: World) -> None:
    world.shop.fill("u1", 1000)
    device = world.device(collections=["notes"])
    await device.sync()
    world.shop.forget()
    world.store.calls.clear()
    response = await device.post()
    assert len(response.content) <= 300
    assert world.shop.statuses == [304] * 50, "conditional requests only"
    assert all("if-none-match" in request.headers for request in world.shop.requests)
    assert [name for name, _ in world.store.calls if name in ("put", "swap")] == [], "nothing is written"
    device.apply(response.json())
    token = device.token
    await device.sync()
    assert device.token == token


async def test_one_change_among_1000_items(world: World) -> None:
    world.shop.fill("u1", 1000)
    device = world.device()
    await device.sync()
    world.shop.put("u1", "n500", "changed")
    world.shop.forget()
    response = await device.post()
    assert len(response.content) <= 400
    assert sorted(world.shop.statuses) == [200] + [304] * 49


@dataclass
class Cost:
    """The highest memory of each request, in bytes: of a first sync, of one without news, of one with a change, of one
    with an item gone; the requests to the services of the first, and the bytes of the state."""

    first: list[int]
    quiet: int
    change: int
    gone: int
    requests: int
    state: int


async def cost(world: World, count: int, monkeypatch: pytest.MonkeyPatch) -> Cost:
    """What a sync of ``count`` items takes, the store's own copy of the state and the client's of the answer apart."""
    user = f"u{count}"
    world.shop.fill(user, count)
    notes = world.shop.notes[user]
    device = Device(world.http, user)
    peaks: list[int] = []
    answer = Sync.answer

    async def measured(self: Sync, request: Any, context: Any) -> bytes:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            return await answer(self, request, context)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1] - before)

    monkeypatch.setattr(Sync, "answer", measured)
    world.shop.forget()
    await device.sync()
    assert len(device.texts()) == count
    first, requests = peaks.copy(), len(world.shop.requests)
    state = max(len(value) for key, value in world.store.values.items() if key.startswith("state:"))
    later = []
    for change in (lambda: None, lambda: world.shop.put(user, "n5", "changed"), lambda: notes.pop("n5")):
        change()
        peaks.clear()
        await device.sync()
        later.append(max(peaks))
    monkeypatch.undo()
    return Cost(first, *later, requests, state)


async def calls(world: World, count: int) -> tuple[int, int]:
    """The function calls of a first sync of ``count`` items, and of one without news."""
    user = f"c{count}"
    world.shop.fill(user, count)
    device = Device(world.http, user)
    totals = []
    for _ in range(2):
        total = 0

        def counted(frame: object, event: str, arg: object) -> None:
            nonlocal total
            total += event in ("call", "c_call")

        sys.setprofile(counted)
        try:
            await device.sync()
        finally:
            sys.setprofile(None)
        totals.append(total)
    return totals[0], totals[1]


async def test_the_work_is_linear(world: World) -> None:
    """Five times the items are five times the calls, the model shop's included; less where something is per sync."""
    await calls(world, 100)
    few, many = await calls(world, 500), await calls(world, 2500)
    assert many[0] <= few[0] * 5 * 1.05
    assert many[1] <= few[1] * 5 * 1.05


async def test_memory_for_10_000_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request takes what its page does, and for each item that the client has: a bit to see what is gone, twice the
    state where that is another afterwards (the part that changed, and the bytes for the store)."""
    shop, store, clock = Shop(), MemoryStore(), Clock()
    app, sync = make_app(shop, store, clock, limit=100)
    async with bff_client(app) as http:
        world = World(shop, store, clock, http, sync)
        await cost(world, 500, monkeypatch)
        tracemalloc.start()
        try:
            small = await cost(world, 1000, monkeypatch)
            large = await cost(world, 10_000, monkeypatch)
        finally:
            tracemalloc.stop()
    assert large.state - small.state < 35 * 9000
    assert max(large.first[:-1]) - max(small.first) < 12 * 9000
    assert large.first[-1] - max(small.first) < 35 * 9000
    assert large.quiet - small.quiet < 10 * 9000
    assert large.change - small.change < 70 * 9000
    assert large.gone - small.gone < 70 * 9000
    assert large.requests <= small.requests * 10 * 1.2
