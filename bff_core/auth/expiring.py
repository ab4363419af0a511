"""What was found out about credentials, for as long as it holds: bounded, and asked for once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from ..errors import Problem

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


class Shared(Generic[V]):
    """Answers of somebody who is asked over the network: kept, and asked for once however many wait.

    Good and bad ones are kept apart, so that a flood of bad credentials pushes no good one out. Whoever leaves
    does not take the question back: others may wait for the answer.
    """

    def __init__(self, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._good: ExpiringMap[V] = ExpiringMap(size)
        self._bad: ExpiringMap[V] = ExpiringMap(size)
        self._clock = clock
        self._under_way: dict[bytes, asyncio.Task[V]] = {}

    def known(self, key: bytes) -> V | None:
        """The answer that is kept."""
        now = self._clock()
        found = self._good.get(key, now)
        return found if found is not None else self._bad.get(key, now)

    async def get(self, key: bytes, ask: Callable[[], Awaitable[tuple[V, float, bool]]]) -> V:
        """The answer under ``key``. ``ask`` gives it with the seconds it holds and whether it is a good one; what it
        raises is raised to all who wait, and not kept. Raises a 503 problem when too many are under way."""
        known = self.known(key)
        if known is not None:
            return known
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= MAX_UNDER_WAY:
                raise cannot_verify()
            task = self._under_way[key] = asyncio.get_running_loop().create_task(self._run(key, ask))
        return await asyncio.shield(task)  # which also hears the exception of a task that everybody has left

    async def _run(self, key: bytes, ask: Callable[[], Awaitable[tuple[V, float, bool]]]) -> V:
        try:
            answer, seconds, good = await ask()
        finally:
            self._under_way.pop(key, None)
        if seconds > 0:
            (self._good if good else self._bad).put(key, answer, self._clock() + seconds)
        return answer

    async def aclose(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._under_way.clear()  # also those that were cancelled before they began
