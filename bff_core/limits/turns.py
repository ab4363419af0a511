"""Turns: under load a few requests begin in each turn of the event loop, the others wait in the order they came.

What has begun is finished first, so that a crowd at the door makes nobody slow who is inside already, and what is
worked on stays in the processor's caches. Where the loop has time to spare its turns are quick, and nobody waits: it is
the processor that is shared out, not the number of requests under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

__all__ = ["Turns", "Waiting"]

CALLS_PER_TURN = 20
"""As small as it can be without more turns costing more than they save (docs/performance.md)."""


class Waiting(Protocol):
    """Who waits for a turn."""

    def begin(self, arrived: float) -> None:
        """The turn has come, for what ``arrived`` at that instant of ``time.monotonic``."""


class Turns:
    """Says when a request begins. What begins says how many calls it will make; a turn is over when it has enough."""

    __slots__ = ("_left", "_loop", "_waiting")

    def __init__(self) -> None:
        self._left = CALLS_PER_TURN
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[float, Waiting]] = deque()

    def enter(self, waiting: Waiting) -> bool:
        """Whether to begin at once; else ``waiting`` is told when."""
        if self._left > 0:
            return True
        if self._loop is not asyncio.get_running_loop():
            # The one before has ended without a last turn.
            self._waiting.clear()
            self._left = CALLS_PER_TURN
            self._loop = None
            return True
        self._waiting.append((time.monotonic(), waiting))
        return False

    def take(self, calls: int) -> None:
        """Something begins that makes so many calls."""
        self._left -= calls
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._turn)

    def waited(self, now: float) -> float:
        """For how many seconds who waits longest has waited at ``now`` (of ``time.monotonic``)."""
        return now - self._waiting[0][0] if self._waiting else 0.0

    def _turn(self) -> None:
        loop, waiting = self._loop, self._waiting
        self._left = CALLS_PER_TURN
        try:
            while self._left > 0 and waiting:
                arrived, one = waiting.popleft()
                one.begin(arrived)
        finally:
            if loop is not None and (waiting or self._left < CALLS_PER_TURN):
                loop.call_soon(self._turn)
            else:
                self._loop = None
