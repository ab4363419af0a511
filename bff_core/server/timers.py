"""How long a client may take: for what it sends, and to take what is sent to it. Seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["DeadlineTimer", "StallTimer"]

_NEVER = float("inf")
_TOLERANCE = 0.0005


class DeadlineTimer:
    """Calls ``late`` when the time is over. One timer of the loop serves all the phases of a connection: it is not
    moved with each, but looks at the deadline (an instant of ``time.monotonic``) when it fires."""

    __slots__ = ("_at", "_deadline", "_handle", "_late", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop = loop
        self._late = late
        self._handle: asyncio.TimerHandle | None = None
        self._at = self._deadline = _NEVER

    def within(self, seconds: float) -> None:
        """From now on."""
        self._deadline = time.monotonic() + seconds
        if self._deadline < self._at:
            self.stop()
            self._arm(seconds)

    def rest(self) -> None:
        """Nothing is waited for."""
        self._deadline = _NEVER

    def stop(self) -> None:
        """It fires no more, until it is set again."""
        self._at = _NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def end(self) -> None:
        """It will not be needed again; it and its owner hold each other no longer."""
        self.stop()
        self._late = _nothing

    def _arm(self, seconds: float) -> None:
        self._at = self._deadline
        self._handle = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._handle = None
        self._at = _NEVER
        left = self._deadline - time.monotonic()
        if left <= _TOLERANCE:
            self._deadline = _NEVER
            self._late()
        elif self._deadline != _NEVER:
            self._arm(left)


class StallTimer:
    """Aborts a connection whose client takes nothing of what is left to send for ``patience``. Else it would keep the
    answer, the request behind it and the connection for as long as it likes."""

    __slots__ = ("_handle", "_loop", "_patience", "_transport", "_unsent")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport, patience: float) -> None:
        self._loop = loop
        self._transport = transport
        self._patience = patience
        self._handle: asyncio.TimerHandle | None = None
        self._unsent = 0

    def watch(self) -> None:
        """What is left to send has to get less, from now on."""
        self._unsent = self._transport.get_write_buffer_size()
        self.stop()
        if self._unsent:
            self._handle = self._loop.call_later(self._patience, self._look)

    def stop(self) -> None:
        """It may take its time."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        if self._transport.get_write_buffer_size() < self._unsent:
            self.watch()
        else:
            self._transport.abort()


def _nothing() -> None:
    """Nobody is told."""
