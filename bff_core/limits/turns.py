"""Turns: under load a few requests begin in each turn of the event loop, the others wait in the order they came.

What has begun is finished first, so that a crowd at the door makes nobody slow who is inside already. Where the loop
has time to spare its turns are quick, and nobody waits: it is the processor that is shared out, not the number of
requests under way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

__all__ = ["Turns"]

PER_TURN = 32


class Turns:
    """Says when a request begins."""

    __slots__ = ("_left", "_loop", "_waiting")

    def __init__(self) -> None:
        self._left = PER_TURN
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    def enter(self) -> asyncio.Future[None] | None:
        """None to begin at once, else what to wait for."""
        if self._left and self._loop is not None:
            self._left -= 1
            return None
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # The first of a turn; or the first on another loop, and the one before has ended without a last turn.
            self._waiting.clear()
            self._left = PER_TURN - 1
            self._loop = loop
            loop.call_soon(self._turn)
            return None
        future = loop.create_future()
        self._waiting.append((time.monotonic(), future))
        return future

    def waited(self, now: float) -> float:
        """For how many seconds who waits longest has waited at ``now`` (of ``time.monotonic``)."""
        return now - self._waiting[0][0] if self._waiting else 0.0

    def _turn(self) -> None:
        left, waiting = PER_TURN, self._waiting
        while left and waiting:
            _, future = waiting.popleft()
            if not future.done():
                future.set_result(None)
                left -= 1
        self._left = left
        if left < PER_TURN and self._loop is not None:
            self._loop.call_soon(self._turn)
        else:
            self._loop = None
