"""Values in this process: what one replica needs, and tests."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from sys import getsizeof

from .protocols import StoreUnavailable

__all__ = ["MemoryKeyValueStore"]

OVERHEAD = 256  # bytes that CPython spends on an entry
SLACK = 64


class MemoryKeyValueStore:
    """Nothing that lives is ever dropped: when the values, their keys and what keeps them would take more than
    ``max_bytes``, writing one more raises ``StoreUnavailable``. What has ended is swept by the writes that follow.
    ``clock`` gives seconds."""

    def __init__(self, *, max_bytes: int = 256 * 1024 * 1024, clock: Callable[[], float] = time.monotonic) -> None:
        self._max = max_bytes
        self._clock = clock
        self._values: dict[str, tuple[bytes, float]] = {}
        self._ends: list[tuple[float, str]] = []  # a heap; may hold what was overwritten since
        self._closed = False
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    async def get(self, key: str) -> bytes | None:
        """The value, while it lives."""
        self._check_open()
        return self._living(key)

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write it, whatever was there."""
        self._check_open()
        self._write(key, value, ttl)

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        """Write ``value`` if ``expected`` is there; whether it was written."""
        self._check_open()
        if self._living(key) != expected:
            return False
        self._write(key, value, ttl)
        return True

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove it; whether something was removed."""
        self._check_open()
        there = self._living(key)
        if there is None or (expected is not None and there != expected):
            return False
        self._forget(key)
        return True

    async def aclose(self) -> None:
        """Forget everything."""
        self._closed = True
        self._values.clear()
        self._ends.clear()
        self.bytes = 0

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("memory: the store is closed")

    def _living(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        return entry[0] if entry is not None and entry[1] > self._clock() else None

    def _write(self, key: str, value: bytes, ttl: float) -> None:
        if math.isnan(ttl):
            raise ValueError("a time to live must be a number of seconds")
        now = self._clock()
        self._sweep(now)
        known = self._values.get(key)
        if ttl <= 0:
            if known is not None:
                self._forget(key)
            return
        grown = len(value) - len(known[0]) if known is not None else _size(key, value)
        if self.bytes + grown > self._max:
            raise StoreUnavailable("memory: the store is full")
        self._values[key] = value, now + ttl
        self.bytes += grown
        heappush(self._ends, (now + ttl, key))
        if len(self._ends) > 2 * len(self._values) + SLACK:
            self._ends = [(end, key) for key, (_, end) in self._values.items()]
            heapify(self._ends)

    def _sweep(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            end, key = heappop(self._ends)
            entry = self._values.get(key)
            if entry is not None and entry[1] == end:
                self._forget(key)

    def _forget(self, key: str) -> None:
        value, _ = self._values.pop(key)
        self.bytes -= _size(key, value)


def _size(key: str, value: bytes) -> int:
    return getsizeof(key) + len(value) + OVERHEAD
