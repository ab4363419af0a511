"""Turns: who begins when."""

from __future__ import annotations

import asyncio
import time

import pytest

from bff_core.limits import Turns

pytestmark = pytest.mark.anyio


async def begin(turns: Turns, name: int, begun: list[int]) -> None:
    turn = turns.enter()
    if turn is not None:
        await turn
    begun.append(name)


async def test_a_crowd_begins_in_order_a_few_at_a_time() -> None:
    """The 33rd waits for the next turn; nobody who comes later goes first."""
    turns = Turns()
    begun: list[int] = []
    tasks = [asyncio.ensure_future(begin(turns, number, begun)) for number in range(100)]
    await asyncio.sleep(0)
    assert begun == list(range(32))
    assert turns.waited(time.monotonic() + 5) >= 5
    tasks.append(asyncio.ensure_future(begin(turns, 100, begun)))
    counts = []
    while not all(task.done() for task in tasks):
        counts.append(len(begun))
        await asyncio.sleep(0)
    assert begun == list(range(101))
    assert max(after - before for before, after in zip([0, *counts], counts, strict=False)) <= 32
    assert turns.waited(time.monotonic()) == 0


async def test_who_has_given_up_takes_no_turn() -> None:
    turns = Turns()
    begun: list[int] = []
    tasks = [asyncio.ensure_future(begin(turns, number, begun)) for number in range(80)]
    await asyncio.sleep(0)
    for task in tasks[40:60]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == [*range(40), *range(60, 80)]


async def test_nobody_waits_where_there_is_time() -> None:
    """One request a turn never waits, however many there are."""
    turns = Turns()
    for _ in range(200):
        assert turns.enter() is None
        await asyncio.sleep(0)


def test_a_loop_that_ended_midway_is_forgotten() -> None:
    """As in tests, where each has a loop of its own: what waited on the one before holds up nobody."""
    turns = Turns()

    async def leave() -> None:
        assert sum(turns.enter() is None for _ in range(40)) >= 32

    async def crowd() -> None:
        begun: list[int] = []
        await asyncio.wait_for(asyncio.gather(*(begin(turns, number, begun) for number in range(100))), 5)

    for work in (leave, crowd, leave, leave, crowd):
        asyncio.run(work())
