"""The bulkhead's queue, by itself."""

from __future__ import annotations

import asyncio
import time

import pytest

from bff_core.resilience.bulkhead import BulkheadQueue

pytestmark = pytest.mark.anyio


def nothing() -> None:
    """There is no place."""


class One:
    def __init__(self, told: list[str], name: str) -> None:
        self.told, self.name = told, name

    def go(self) -> None:
        self.told.append(f"{self.name} goes")

    def late(self) -> None:
        self.told.append(f"{self.name} is late")


async def test_first_come_first_served_up_to_the_most() -> None:
    queue, told = BulkheadQueue(3, nothing), list[str]()
    a, b, c, d = (One(told, name) for name in "abcd")
    far = time.monotonic() + 60
    assert [queue.join(one, far) for one in (a, b, c, d)] == [True, True, True, False]
    queue.leave(b)
    queue.leave(b)
    assert queue.join(d, far)
    assert [queue.next() for _ in range(3)] == [a, c, d]
    assert len(queue) == 0
    with pytest.raises(StopIteration):
        queue.next()


async def test_each_has_its_own_deadline() -> None:
    """Also when one that comes later has to go sooner, and when one's end is another's."""
    queue, told = BulkheadQueue(9, nothing), list[str]()
    a, b, c, d, e = (One(told, name) for name in "abcde")
    now = time.monotonic()
    queue.join(a, now + 60)
    queue.join(b, now + 0.6)
    queue.join(c, now + 0.1)
    queue.join(d, now + 0.1)
    queue.join(e, now - 1)
    c.late = lambda: (told.append("c is late, and takes d with it"), queue.leave(d))[0]  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        while len(queue) > 1:
            await asyncio.sleep(0.005)
    assert told == ["e is late", "c is late, and takes d with it", "b is late"]
    assert queue.next() is a
    queue.leave(a)


async def test_nobody_waits_where_none_may() -> None:
    queue = BulkheadQueue(0, nothing)
    assert not queue.join(One([], "a"), time.monotonic() + 1)
    assert not queue


async def test_it_looks_for_a_place_by_itself() -> None:
    """While somebody waits, and no longer."""
    told: list[str] = []

    def advance() -> None:
        told.append("looks")
        if told.count("looks") == 3:
            queue.next().go()

    queue = BulkheadQueue(9, advance)
    queue.join(One(told, "a"), time.monotonic() + 60)
    async with asyncio.timeout(10):
        while len(queue):
            await asyncio.sleep(0.005)
    assert told == ["looks", "looks", "looks", "a goes"]
    assert queue._timer is None


async def test_an_error_of_one_does_not_stop_the_looking() -> None:
    told: list[str] = []

    def advance() -> None:
        if len(queue) == 2:
            queue.next()
            raise ValueError("broken")
        queue.next().go()

    heard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["exception"]))
    queue = BulkheadQueue(9, advance)
    for name in "ab":
        queue.join(One(told, name), time.monotonic() + 60)
    async with asyncio.timeout(10):
        while len(queue):
            await asyncio.sleep(0.005)
    assert told == ["b goes"]
    assert len(heard) == 1


def test_a_loop_that_ended_holds_up_nobody() -> None:
    """What waited on it is forgotten; who comes on the next is looked after."""
    told: list[str] = []
    stayed: list[bool] = []
    queue = BulkheadQueue(1, lambda: queue.next().go() if stayed and len(queue) else None)

    async def leaves() -> None:
        assert queue.join(One(told, "a"), time.monotonic() + 60)

    async def stays() -> None:
        stayed.append(True)
        assert queue.join(One(told, "b"), time.monotonic() + 60)
        async with asyncio.timeout(10):
            while len(queue):
                await asyncio.sleep(0.005)

    asyncio.run(leaves())
    asyncio.run(stays())
    assert told == ["b goes"]
