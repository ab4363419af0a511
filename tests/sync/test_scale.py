"""What a sync costs: bytes, requests to the services, memory and the store's bytes, counted rather than timed."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from .conftest import World
from .device import Device

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


async def cost(world: World, count: int) -> tuple[list[int], int, int]:
    """The highest memory of each request of a first sync, the upstream requests, and the bytes of the state."""
    user = f"u{count}"
    world.shop.fill(user, count)
    device = Device(world.http, user)
    world.shop.forget()
    peaks, more = [], True
    while more:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        response = await device.post()
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        device.apply(response.json())
        more = response.json()["more"]
    assert len(device.texts()) == count
    state = max(len(value) for key, value in world.store.values.items() if key.startswith("state:"))
    return peaks, len(world.shop.requests), state


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


async def test_10_000_items_take_about_the_memory_of_1000(world: World) -> None:
    await cost(world, 500)
    tracemalloc.start()
    try:
        small, small_requests, small_state = await cost(world, 1000)
        large, large_requests, large_state = await cost(world, 10_000)
    finally:
        tracemalloc.stop()
    # 9,000 items more are 290 kB more of state, of which there are a few copies at a time, and a sort at the very end:
    # far from 9,000 objects.
    assert max(large[:-1]) - max(small) < 150 * 9_000
    assert large[-1] - max(small) < 350 * 9_000
    assert large_requests <= small_requests * 10 * 1.2
    assert large_state - small_state < 45 * 9_000
