"""A store that replicas share, as one of them uses it: in the background, and what is to be forgotten, for certain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from .rfc9111 import Stored
from .valkey import ValkeyStore

__all__ = ["SharedStore"]

MOST_UNTOLD = 1024
AGAIN_AFTER = 1.0


class SharedStore:
    """Everything but ``get`` is begun, not waited for. A target that ``store`` cannot be told to forget is not taken
    from it here, and it is told again once a second, until it has been told or this is closed. Of more than 1024 such
    the oldest are given up; then nothing from before that is taken from it. For one event loop."""

    def __init__(self, store: ValkeyStore) -> None:
        self.store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self._untold: dict[bytes, asyncio.Task[None]] = {}
        self._floor: float | None = None  # the instant when some were given up
        self._again: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: bytes, target: bytes) -> Stored | None:
        """The entry, or None if there is none, its ``target`` was forgotten since, or it cannot be had in time."""
        telling = self._untold.get(target)
        if telling is not None:
            await asyncio.shield(self.forget(target) if telling.done() else telling)
            if target in self._untold:
                return None
        return await self.store.get(key, target, self._floor)

    def put(self, key: bytes, stored: Stored, ttl: float, target: bytes, asked: float) -> None:
        """See ``ValkeyStore.put``."""
        self.start(self.store.put(key, stored, ttl, target, asked))

    def delete(self, key: bytes) -> None:
        """Forget an entry, if that can be done in time."""
        self.start(self.store.delete(key))

    def forget(self, target: bytes) -> asyncio.Task[None]:
        """Forget all of a target, and whatever was asked for before that; the task is the first try."""

        async def tell() -> None:
            if not await self.store.forget(target):
                if not self._closed and (self._again is None or self._again.done()):
                    self._again = asyncio.get_running_loop().create_task(self._tell_again())
            elif self._untold.get(target) is task:
                del self._untold[target]

        task = self.start(tell())
        self._untold.pop(target, None)
        self._untold[target] = task
        if len(self._untold) > MOST_UNTOLD:
            del self._untold[next(iter(self._untold))]
            self._floor = time.monotonic()
        return task

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell_again(self) -> None:
        while self._untold:
            await asyncio.sleep(AGAIN_AFTER)
            for target, telling in list(self._untold.items()):
                if telling.done():
                    await asyncio.shield(self.forget(target))
                    if target in self._untold:
                        break  # it is still away

    async def aclose(self) -> None:
        """Let go of the store."""
        self._closed = True
        if self._again is not None:
            self._again.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self.store.aclose()
