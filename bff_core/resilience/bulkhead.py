"""The bulkhead's queue: who waits for one of a service's calls to end, in order, each until its deadline."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["BulkheadQueue", "Waiting"]

_NEVER = float("inf")
_TOLERANCE = 0.0005


class Waiting(Protocol):
    """A call that the bulkhead has no place for yet."""

    def go(self) -> None:
        """There is one now."""

    def late(self) -> None:
        """There was none before the deadline."""


class BulkheadQueue:
    """At most ``most`` wait, each until an instant of ``time.monotonic``. One timer serves them all."""

    __slots__ = ("_at", "_most", "_timer", "_waiting")

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = _NEVER

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiting: Waiting, deadline: float) -> bool:
        """Stand behind all others; false when there are too many."""
        if len(self._waiting) >= self._most:
            return False
        self._waiting[waiting] = deadline
        if deadline < self._at:
            self._arm(deadline)
        return True

    def leave(self, waiting: Waiting) -> None:
        """Wait no more."""
        self._waiting.pop(waiting, None)

    def next(self) -> Waiting:
        """Who has waited longest, and waits no more. Raises ``StopIteration`` when nobody does."""
        waiting = next(iter(self._waiting))
        del self._waiting[waiting]
        return waiting

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = deadline
        self._timer = asyncio.get_running_loop().call_later(max(0.0, deadline - time.monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        self._at = _NEVER
        until = time.monotonic() + _TOLERANCE
        late = [waiting for waiting, deadline in self._waiting.items() if deadline <= until]
        for waiting in late:
            if self._waiting.pop(waiting, None) is not None:  # one's end may be another's
                waiting.late()
        if self._waiting:
            self._arm(min(self._at, *self._waiting.values()))
