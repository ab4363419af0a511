"""The client's side of an exchange that passes through: its body, and whether it is still there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Self

from starlette.types import Message, Receive, Send

from ..context import Exchange
from ..disconnect import client_left
from ..errors import ClientDisconnected, Problem

__all__ = ["Client", "ClientBody"]

PATIENCE = 0.05


class ClientBody:
    """The request's body, piece by piece as it comes.

    Raises a 413 problem beyond ``limit`` bytes, a 408 one after ``idle`` seconds of silence, ``ClientDisconnected``.
    ``ended`` is called when all of it is there.
    """

    __slots__ = ("_complete", "_ended", "_idle", "_left", "_limit", "_receive")

    def __init__(self, receive: Receive, limit: int, idle: float, ended: Callable[[], None]) -> None:
        self._receive = receive
        self._left = limit
        self._limit = limit
        self._idle = idle
        self._ended = ended
        self._complete = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._complete:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(self._idle):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "The rest of the request did not come.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        piece: bytes = message.get("body", b"")
        self._left -= len(piece)
        if self._left < 0:
            raise Problem(413, f"The body is larger than {self._limit} bytes.")
        if not message.get("more_body"):
            self._complete = True
            self._ended()
        return piece

    async def gather(self) -> bytes:
        """All of it at once, for what is small."""
        return b"".join([piece async for piece in self])


class Client:
    """Cancels the task it is made in, and says so in ``left``, when the client leaves or takes nothing for ``idle``
    seconds (twice that at the most). That it leaves the gateway's own server tells by its ``exchange``; where another
    one serves, it is looked for when the request is complete and fifty milliseconds have passed, which most exchanges
    do not take."""

    __slots__ = ("_exchange", "_idle", "_main", "_receive", "_send", "_sending", "_timer", "_watcher", "left")

    def __init__(self, receive: Receive, send: Send, idle: float, exchange: Exchange | None) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._idle = idle
        self._sending: float | None = None
        self._main = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.left = False

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer at once; false when it has to be sent in parts."""
        return self._exchange is not None and self._exchange.answer(status, headers, body)

    async def send(self, message: Message) -> None:
        """Send ``message``; waits while the client takes nothing."""
        if self._timer is None and self._exchange is not None:
            self._timer = asyncio.get_running_loop().call_later(self._idle, self._look)
        self._sending = time.monotonic()
        await self._send(message)
        self._sending = None

    def complete(self) -> None:
        """Its request is; what comes next from it is that it leaves. Raises ``ClientDisconnected`` when it has."""
        if self._exchange is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._start)
        elif self._exchange.left:
            raise ClientDisconnected
        else:
            self._exchange.when_left = self._leave

    def stop(self) -> None:
        """Look no longer."""
        if self._exchange is not None:
            self._exchange.when_left = None
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())
        self._look()

    async def _watch(self) -> None:
        await client_left(self._receive)
        self._leave()

    def _look(self) -> None:
        now = time.monotonic()
        since = now if self._sending is None else self._sending
        if now - since >= self._idle:
            self._leave()
        else:
            self._timer = asyncio.get_running_loop().call_later(since + self._idle - now, self._look)

    def _leave(self) -> None:
        if not self.left and self._main is not None:
            self.left = True
            self._main.cancel()
