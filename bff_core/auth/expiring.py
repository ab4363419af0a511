"""What was found out about credentials, for as long as it holds: bounded, and asked for once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..context import Exchange, current_context
from ..errors import ClientDisconnected, Problem

__all__ = ["ExpiringMap", "Shared", "cannot_verify"]

V = TypeVar("V")
MAX_UNDER_WAY = 256


def cannot_verify() -> Problem:
    """What is answered when nobody can tell now whether credentials are good."""
    return Problem(503, "Credentials cannot be verified at the moment.", headers={"retry-after": "1"})


class ExpiringMap(Generic[V]):
    """At most ``size`` values, each until an instant of the caller's clock; the oldest gives way to the newest."""

    __slots__ = ("_entries", "_size")

    def __init__(self, size: int) -> None:
        self._entries: dict[bytes, tuple[float, V]] = {}
        self._size = size

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: float) -> V | None:
        """The value, None when there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] > now:
            return entry[1]
        del self._entries[key]
        return None

    def put(self, key: bytes, value: V, until: float) -> None:
        """Keep ``value``."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (until, value)

    def drop(self, key: bytes) -> None:
        """Forget one."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


@dataclass(slots=True, eq=False)
class _Question(Generic[V]):
    task: asyncio.Task[V]
    askers: int = 0


class Shared(Generic[V]):
    """Answers of somebody who is asked over the network: kept, and asked for once however many wait.

    Good and bad ones are kept apart, so that a flood of bad credentials pushes no good one out. Whoever leaves
    does not take the question back, as others may wait for the answer, but for the last one when nobody has been asked
    yet.
    """

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._good: ExpiringMap[V] = ExpiringMap(size)
        self._bad: ExpiringMap[V] = ExpiringMap(size)
        self._clock = clock
        self._under_way: dict[bytes, _Question[V]] = {}

    def known(self, key: bytes) -> V | None:
        """The answer that is kept."""
        now = self._clock()
        found = self._good.get(key, now)
        return found if found is not None else self._bad.get(key, now)

    async def get(
        self,
        key: bytes,
        ask: Callable[[], Awaitable[tuple[V, float, bool]]],
        waits: Callable[[], bool] | None = None,
    ) -> V:
        """The answer under ``key``. ``ask`` gives it with the seconds it holds and whether it is a good one; what it
        raises is raised to all who wait, and not kept; ``waits`` says that it has to wait before it can ask. Raises a
        503 problem when too many are under way, and ``ClientDisconnected``."""
        known = self.known(key)
        if known is not None:
            return known
        exchange = _exchange()
        if exchange is not None and exchange.left:
            raise ClientDisconnected
        question = self._under_way.get(key)
        if question is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                raise cannot_verify()
            question = _Question(asyncio.get_running_loop().create_task(self._run(key, ask)))
            self._under_way[key] = question
        question.askers += 1
        heard = asyncio.shield(question.task)  # which also hears the exception of a task that everybody has left
        try:
            return await _unless_left(heard, exchange)
        finally:
            question.askers -= 1
            if not question.askers and waits is not None and waits() and question.task.cancel():
                self._forget(key, question.task)

    async def _run(self, key: bytes, ask: Callable[[], Awaitable[tuple[V, float, bool]]]) -> V:
        try:
            answer, seconds, good = await ask()
        finally:
            self._forget(key, asyncio.current_task())
        if seconds > 0:
            (self._good if good else self._bad).put(key, answer, self._clock() + seconds)
        return answer

    def _forget(self, key: bytes, task: asyncio.Task[V] | None) -> None:
        question = self._under_way.get(key)
        if question is not None and question.task is task:
            del self._under_way[key]

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = [question.task for question in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._under_way.clear()  # also those that were cancelled before they began


def _exchange() -> Exchange | None:
    try:
        return current_context().exchange
    except LookupError:
        return None


async def _unless_left(heard: asyncio.Future[V], exchange: Exchange | None) -> V:
    """What is ``heard``; raises ``ClientDisconnected`` when the client leaves before that, where the server tells."""
    if exchange is None:
        return await heard

    def left() -> None:
        heard.cancel()

    exchange.when_left = left
    try:
        return await heard
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if exchange.left and task is not None and not task.cancelling():
            raise ClientDisconnected from None
        raise
    finally:
        exchange.when_left = None
