"""A client that leaves: what is still done for its page is let go."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from ..context import Exchange
from ..disconnect import client_left
from ..errors import ClientDisconnected
from .run import Run

__all__ = ["DisconnectWatcher"]

PATIENCE = 0.05


class DisconnectWatcher:
    """Abandons ``run`` when the client leaves, which the gateway's own server tells by its ``exchange``. Where another
    one serves, it looks only after fifty milliseconds, which most pages do not take, so that they pay for a timer and
    not for a task."""

    __slots__ = ("_exchange", "_receive", "_run", "_task", "_timer")

    def __init__(self, receive: Receive, run: Run, exchange: Exchange | None) -> None:
        self._receive = receive
        self._run = run
        self._exchange = exchange
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        if exchange is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._start)
        elif exchange.left:
            self._left()
        else:
            exchange.when_left = self._left

    def stop(self) -> None:
        """Look no longer."""
        if self._exchange is not None:
            self._exchange.when_left = None
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _left(self) -> None:
        self._run.abandon(ClientDisconnected())

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        await client_left(self._receive)
        self._left()
