"""The bulkhead's queue: who waits for one of a service's calls to end, in order, each until its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["BulkheadQueue", "Waiting"]

TICK = 0.01


class Waiting(Protocol):
    """A call that the bulkhead has no place for yet."""

    def go(self) -> None:
        """There is one now."""

    def late(self) -> None:
        """There was none before the deadline."""


class BulkheadQueue:
    """At most ``most`` wait, each until an instant of ``time.monotonic``.

    ``advance`` is called every hundredth of a second while somebody does, for the places that are given back without a
    word: by streams, and by calls that were given up before their transport let them go. So is who is late, who may
    hear of it as much later. One event loop at a time is served.
    """

    __slots__ = ("_advance", "_loop", "_most", "_timer", "_waiting")

    def __init__(self, most: int, advance: Callable[[], None]) -> None:
        self._most = most
        self._advance = advance
        self._waiting: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiting: Waiting, deadline: float) -> bool:
        """Stand behind all others; false when there are too many."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._waiting.clear()
            self._timer = None
            self._loop = loop
        if len(self._waiting) >= self._most:
            return False
        self._waiting[waiting] = deadline
        if self._timer is None:
            self._timer = loop.call_later(TICK, self._look)
        return True

    def leave(self, waiting: Waiting) -> None:
        """Wait no more."""
        self._waiting.pop(waiting, None)

    def next(self) -> Waiting:
        """Who has waited longest, and waits no more. Raises ``StopIteration`` when nobody does."""
        waiting = next(iter(self._waiting))
        del self._waiting[waiting]
        return waiting

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        try:
            for waiting in [waiting for waiting, deadline in self._waiting.items() if deadline <= now]:
                if self._waiting.pop(waiting, None) is not None:  # one's end may be another's
                    waiting.late()
            self._advance()
        finally:
            if self._waiting and self._timer is None and self._loop is not None:
                self._timer = self._loop.call_later(TICK, self._look)
