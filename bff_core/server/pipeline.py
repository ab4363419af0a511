"""The exchanges of one connection, answered in the order in which they were asked for (RFC 9112 section 9.3.2)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import copy_context
from typing import Any

import httptools
from starlette.types import Scope

from ..hardening import ARRIVED
from .caps import Caps
from .exchange import Exchange

__all__ = ["Pipeline"]

log = logging.getLogger("uvicorn.error")

MOST_WAITING = 64


class Pipeline:
    """``current`` is the exchange that is answered, ``queue`` those that wait for that with their requests, and then
    for their turn; ``newest`` the last, of which there may be more to read. ``tasks`` are uvicorn's."""

    __slots__ = (
        "_advancing", "_app", "_begin", "_context", "_loop", "_tasks", "_transport", "_turns", "_waits", "current",
        "newest", "queue",
    )  # fmt: skip

    def __init__(
        self,
        app: Any,
        caps: Caps,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._app = app
        self._begin = caps.begin
        self._turns = caps.turns
        self._loop = loop
        self._transport = transport
        self._tasks = tasks
        # One request's context variables are nobody else's, in whichever task it is that the next one begins.
        self._context = copy_context()
        self._advancing = self._waits = False
        self.current: Exchange | None = None
        self.newest: Exchange | None = None
        self.queue: deque[tuple[Exchange, Scope]] = deque()

    @property
    def due(self) -> bool:
        """Whether an answer is."""
        return bool(self.queue) or (self.current is not None and not self.current.complete)

    def add(self, exchange: Exchange, scope: Scope) -> None:
        """One more, which is the newest. Raises ``httptools.HttpParserError`` when enough wait already: the connection
        ends behind those, for each holds many times what the client has spent on it."""
        due = self.due
        if due and len(self.queue) >= MOST_WAITING:
            raise httptools.HttpParserError("too many requests wait for their answers")
        self.newest = exchange
        if due:
            self.queue.append((exchange, scope))
        elif not self._transport.is_closing():  # RFC 9112 section 9.6: nothing is done behind a last request
            self.start(exchange, scope)

    def start(self, exchange: Exchange, scope: Scope) -> None:
        """Have it answered."""
        self.current = exchange
        receive, send = exchange.receive, exchange.send
        work = None
        if self._begin is not None:
            try:
                work = self._begin(scope, receive, send)
            except Exception:
                log.exception("A request has to take the usual way.")
        if isinstance(work, tuple):
            if exchange.answer(*work):
                return
            work = exchange.answer_in_time(*work)
        if work is None:
            work = self._app(scope, receive, send)
        task = self._loop.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(exchange.ended)

    def advance(self) -> None:
        """Who waits is next, when all before have their answers, and begins when it is its turn."""
        if self._advancing or self._waits:
            return  # what is answered at once comes back here, and thousands may wait
        self._advancing = True
        try:
            while self.queue and (self.current is None or self.current.complete) and not self._transport.is_closing():
                if self._turns is not None and not self._turns.enter(self):
                    self._waits = True
                    return
                # This may be the task of the one before.
                self._context.copy().run(self.start, *self.queue.popleft())
        finally:
            self._advancing = False

    def its_turn(self, arrived: float) -> None:
        """That of the first in the queue."""
        self._waits = False
        if self.queue and not self._transport.is_closing():
            exchange, scope = self.queue.popleft()
            scope[ARRIVED] = arrived
            self.start(exchange, scope)

    def leave(self) -> None:
        """The connection has ended: whoever still works for this client is told."""
        current, newest, self.current, self.newest = self.current, self.newest, None, None
        for exchange in (current, newest, *(waiting for waiting, _ in self.queue)):
            if exchange is not None:
                exchange.leave()
        self.queue.clear()
