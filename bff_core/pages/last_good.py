"""The last good values of a gateway's sections: in memory, and in the Valkey that replicas share if there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..cache import LastGood, Stored, ValkeyStore

__all__ = ["LastGoodValues", "StaleKey"]

StaleKey = tuple[str, str, bytes]
"""Page and operation, arguments, and for whom (``Principal.whose``)."""


class LastGoodValues:
    """``memory`` is asked first; what another replica saw comes from ``remote``."""

    def __init__(self, memory: LastGood, remote: ValkeyStore | None) -> None:
        self._memory = memory
        self.remote = remote
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, key: StaleKey, value: Any, size: int, returns: Any, keep: float) -> None:
        """Remember ``value``, of the type ``returns``, for ``keep`` seconds."""
        self._memory.put(key, value, size, time.monotonic())
        if self.remote is not None:
            body = self._adapter(key, returns).dump_json(value)
            stored = Stored(200, (), body, (), time.time(), 0.0, keep, 0.0, 0.0, False, False, None, None)
            self._spawn(self.remote.put(repr(key).encode(), stored, keep))

    def forget(self, key: StaleKey) -> None:
        """The service says that there is no such thing any more, or not for them."""
        self._memory.forget(key)
        if self.remote is not None:
            self._spawn(self.remote.delete(repr(key).encode()))

    def get(self, key: StaleKey, max_age: float) -> tuple[Any, float] | None:
        """The value in memory and its age in seconds, None when there is none or it is too old."""
        return self._memory.get(key, max_age, time.monotonic())

    async def recall(self, key: StaleKey, returns: Any, max_age: float) -> tuple[Any, float] | None:
        """The value that another replica remembered, and its age."""
        stored = await self.remote.get(repr(key).encode()) if self.remote is not None else None
        if stored is None or time.time() - stored.stored_at > max_age:
            return None
        try:
            value = self._adapter(key, returns).validate_json(stored.body)
        except ValidationError:
            return None  # of another version of this gateway
        return value, max(0.0, time.time() - stored.stored_at)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _adapter(self, key: StaleKey, returns: Any) -> TypeAdapter[Any]:
        adapter = self._adapters.get(key[0])
        if adapter is None:
            adapter = self._adapters[key[0]] = TypeAdapter(returns)
        return adapter

    async def aclose(self) -> None:
        """Let go of the shared store."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self.remote is not None:
            await self.remote.aclose()
