"""Turns: who begins when."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

import pytest

from bff_core.limits import Turns
from bff_core.limits.turns import CALLS_PER_TURN

pytestmark = pytest.mark.anyio

CALLS = 2
PER_TURN = CALLS_PER_TURN // CALLS


class Door:
    """Requests that make two calls each; ``begun`` are those that have begun, by name."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.begun: list[int] = []

    def come(self, *names: int) -> None:
        for name in names:
            request = Request(self, name)
            if self.turns.enter(request):
                request.its_turn(0.0)

    async def all_begin(self, count: int) -> list[int]:
        """How many began in each turn of the loop."""
        counts = [len(self.begun)]
        while len(self.begun) < count:
            await asyncio.sleep(0)
            counts.append(len(self.begun) - sum(counts))
        return counts


class Request:
    def __init__(self, door: Door, name: int) -> None:
        self.door, self.name = door, name

    def its_turn(self, _arrived: float) -> None:
        if self.name >= 0:
            self.door.begun.append(self.name)
            self.door.turns.take(CALLS)


async def test_a_crowd_begins_in_order_a_few_at_a_time() -> None:
    """Nobody who comes later goes first."""
    door = Door()
    door.come(*range(100))
    assert door.begun == list(range(PER_TURN))
    assert door.turns.waited(time.monotonic() + 5) >= 5
    await asyncio.sleep(0)
    door.come(100)
    counts = await door.all_begin(101)
    assert door.begun == list(range(101))
    assert max(counts[1:]) <= PER_TURN
    assert door.turns.waited(time.monotonic()) == 0


async def test_who_has_given_up_takes_no_turn() -> None:
    """But some time: not all of a crowd are looked at in one turn."""
    door = Door()
    door.come(*range(PER_TURN), *[-1] * 90, 50)
    await asyncio.sleep(0)
    assert door.begun == [*range(PER_TURN), 50]
    door.come(*range(PER_TURN), *[-1] * 1000, 51)
    await asyncio.sleep(0)
    assert door.begun[-1] != 51
    await door.all_begin(2 * PER_TURN + 2)
    assert door.begun[-1] == 51


async def test_nobody_waits_where_there_is_time() -> None:
    """One request a turn never waits, however many there are."""
    door = Door()
    for number in range(200):
        door.come(number)
        assert len(door.begun) == number + 1
        await asyncio.sleep(0)


async def test_what_takes_nothing_is_not_counted() -> None:
    """Pages that are kept, and refusals."""
    turns = Turns()
    assert all(turns.enter(Request(Door(), 0)) for _ in range(1000))


async def test_a_large_page_is_a_turn_of_its_own() -> None:
    turns, begun = Turns(), []

    class Large:
        def its_turn(self, arrived: float) -> None:
            begun.append(arrived)
            turns.take(10 * CALLS_PER_TURN)

    before = time.monotonic()
    for _ in range(3):
        if turns.enter(Large()):
            Large().its_turn(0.0)
    assert begun == [0.0]
    await asyncio.sleep(0)
    assert len(begun) == 2
    await asyncio.sleep(0)
    assert len(begun) == 3
    assert before <= begun[1] <= begun[2] <= time.monotonic(), "who begins is told since when it has waited"


async def test_a_request_that_fails_stops_nobody_behind_it() -> None:
    door = Door()

    class Broken:
        def its_turn(self, arrived: float) -> None:
            raise ValueError(arrived)

    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["exception"]))
    door.come(*range(PER_TURN))
    assert not door.turns.enter(Broken())
    door.come(*range(PER_TURN, 90))
    await asyncio.sleep(0)
    door.come(*range(90, 100))  # there is something left of this turn, but others wait
    await door.all_begin(100)
    assert door.begun == list(range(100))
    assert [type(error) for error in heard] == [ValueError]


async def test_context_variables_of_the_first_are_not_those_of_the_others() -> None:
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen: list[str] = []
    turns = Turns()

    class Looks:
        def its_turn(self, _arrived: float) -> None:
            seen.append(whose.get())
            turns.take(CALLS_PER_TURN)

    async def first() -> None:
        whose.set("the first's")
        assert turns.enter(Looks())
        turns.take(CALLS_PER_TURN)
        assert not any(turns.enter(Looks()) for _ in range(3))

    await asyncio.create_task(first())
    for _ in range(4):
        await asyncio.sleep(0)
    assert seen == ["nobody's"] * 3


def test_a_loop_that_ended_midway_is_forgotten() -> None:
    """As in tests, where each has a loop of its own: what waited on the one before holds up nobody."""
    door = Door()

    async def leave() -> None:
        door.begun = []
        door.come(*range(40))
        assert len(door.begun) >= PER_TURN

    async def crowd() -> None:
        door.begun = []
        door.come(*range(100))
        await asyncio.wait_for(door.all_begin(100), 5)

    for work in (leave, crowd, leave, leave, crowd):
        asyncio.run(work())
