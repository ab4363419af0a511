"""Turns: under load a few requests begin in each turn of the event loop, the others wait in the order they came.

What has begun is finished first, so that a crowd at the door makes nobody slow who is inside already, and what is
worked on stays in the processor's caches. Where the loop has time to spare its turns are quick, and nobody waits: it is
the processor that is shared out, not the number of requests under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextvars import copy_context
from typing import Protocol

__all__ = ["Turns"]

CALLS_PER_TURN = 20
"""As small as it can be before many turns cost more than what stays in the caches saves (docs/performance.md)."""
BEGUN_PER_TURN = 100
"""So many may begin of those that cost next to nothing."""


class Waiter(Protocol):
    """Who waits for a turn."""

    def its_turn(self, arrived: float) -> None:
        """It has come, for what has waited since that instant of ``time.monotonic``."""


class Turns:
    """Says when a request begins. What begins says about how many calls it will make, and a turn is over when it has
    enough. One event loop at a time is served: what waits on one that another takes over from is forgotten."""

    __slots__ = ("_context", "_left", "_loop", "_waiting")

    def __init__(self) -> None:
        self._left = CALLS_PER_TURN
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[float, Waiter]] = deque()
        # Whoever is the first of a turn, its context variables are not for those that the next turns begin.
        self._context = copy_context()

    def enter(self, waiter: Waiter) -> bool:
        """Whether to begin at once; else ``waiter`` is told when."""
        if self._left > 0 and not self._waiting:
            return True
        if self._loop is not asyncio.get_running_loop():
            # The one before has ended without a last turn.
            self._waiting.clear()
            self._left = CALLS_PER_TURN
            self._loop = None
            return True
        self._waiting.append((time.monotonic(), waiter))
        return False

    def take(self, calls: int) -> None:
        """Something begins that makes so many calls."""
        self._left -= calls
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._turn, context=self._context.copy())

    def waited(self, now: float) -> float:
        """For how many seconds who waits longest has waited at ``now`` (of ``time.monotonic``)."""
        return now - self._waiting[0][0] if self._waiting else 0.0

    def _turn(self) -> None:
        loop, waiting = self._loop, self._waiting
        self._left = CALLS_PER_TURN
        begun = 0
        try:
            while self._left > 0 and waiting and begun < BEGUN_PER_TURN:
                begun += 1
                arrived, waiter = waiting.popleft()
                waiter.its_turn(arrived)
        finally:
            if loop is not None and (waiting or self._left < CALLS_PER_TURN):
                loop.call_soon(self._turn, context=self._context.copy())
            else:
                self._loop = None
