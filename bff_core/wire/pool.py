"""The connections of one origin: who gets which, who waits, and how many there may be."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque

from ..errors import ConnectFailed, ConnectionLost, ServiceError
from .answer import Limits
from .connect import dial as connect
from .connection import Connection
from .exchange import Pending
from .head import Origin

__all__ = ["Dial", "Pool"]


class Dial:
    """A connection being made. When it fails, ``owner`` fails; made, it goes to whoever waits longest."""

    __slots__ = ("owner", "task")

    def __init__(self, owner: Pending) -> None:
        self.owner: Pending | None = owner
        self.task: asyncio.Task[None] | None = None


class Pool:
    """At most ``size`` connections, those being made included; idle ones are reused last in, first out."""

    __slots__ = (
        "_closing", "_connect_timeout", "_context", "_dials", "_empty", "_idle", "_idle_time", "_open", "_origin",
        "_shut", "_size", "_tasks", "_waiting", "in_flight", "limits",
    )  # fmt: skip

    def __init__(
        self,
        origin: Origin,
        limits: Limits,
        *,
        size: int,
        connect_timeout: float,
        idle: float,
        context: ssl.SSLContext | None,
    ) -> None:
        self._origin = origin
        self.limits = limits
        self._size = size
        self._connect_timeout = connect_timeout
        self._idle_time = idle
        self._context = context
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closing: set[Connection] = set()
        self._dials: set[Dial] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[Pending] = deque()
        self._empty: asyncio.Future[None] | None = None
        self._shut = False
        self.in_flight = 0

    # What the wire asks for

    def submit(self, exchange: Pending, timeout: float) -> None:
        """Write it to an idle connection, or let it wait for one."""
        self.in_flight += 1
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                connection.start(exchange, time.monotonic() + timeout)
                return
            connection.close()
        loop = asyncio.get_running_loop()
        exchange.deadline = time.monotonic() + timeout
        if self._shut:
            loop.call_soon(exchange.fail, ConnectionLost("the wire is closed"))
            return
        exchange.timer = loop.call_later(timeout, exchange.expired)
        self._waiting.append(exchange)
        self._dial_more()

    async def aclose(self) -> None:
        """End everything, and wait until the last socket is closed."""
        self._shut = True
        self.close_idle()
        for exchange in [*self._waiting, *(c.exchange for c in self._open if c.exchange is not None)]:
            exchange.fail(ConnectionLost("the wire is closed"))
        for connection in list(self._open):
            connection.close()
        for dial in list(self._dials):
            self._give_up(dial)
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._closing:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._empty)

    def close_idle(self) -> None:
        """Close what nobody uses."""
        for connection in list(self._idle):
            connection.close()

    # What connections tell

    def made(self, connection: Connection) -> None:
        """Its transport exists from now on."""
        self._closing.add(connection)

    def released(self, connection: Connection) -> None:
        """It can take the next exchange: that of who waits longest, unless that one wants a new connection."""
        if not connection.usable():
            connection.close()
            return
        for exchange in self._waiting:
            if not exchange.fresh:
                self._waiting.remove(exchange)
                self._assign(exchange, connection)
                return
        if self._shut:
            connection.close()
            return
        connection.until(time.monotonic() + self._idle_time)
        self._idle.append(connection)

    def dropped(self, connection: Connection) -> None:
        """It is closed, its slot free."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._dial_more()

    def gone(self, connection: Connection) -> None:
        """Its socket is closed."""
        self._closing.discard(connection)
        if not self._closing and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def again(self, exchange: Pending) -> None:
        """Send it once more, first of all and over a new connection."""
        exchange.repeatable = False
        exchange.fresh = True
        loop = asyncio.get_running_loop()
        exchange.timer = loop.call_later(max(0.0, exchange.deadline - time.monotonic()), exchange.expired)
        self._waiting.appendleft(exchange)

    # What exchanges tell

    def forget(self, exchange: Pending) -> None:
        """It waits no longer; what was begun for it alone is given up."""
        if exchange.timer is not None:
            exchange.timer.cancel()
            exchange.timer = None
        if exchange in self._waiting:
            self._waiting.remove(exchange)
        dial, exchange.dial = exchange.dial, None
        if dial is not None:
            self._give_up(dial)
            self._dial_more()

    # Within

    def _assign(self, exchange: Pending, connection: Connection) -> None:
        if exchange.timer is not None:
            exchange.timer.cancel()
            exchange.timer = None
        if exchange.dial is not None:
            exchange.dial.owner = None
            exchange.dial = None
        connection.start(exchange, exchange.deadline)

    def _dial_more(self) -> None:
        while (
            not self._shut and len(self._dials) < len(self._waiting) and len(self._open) + len(self._dials) < self._size
        ):
            owner = next(exchange for exchange in self._waiting if exchange.dial is None)
            dial = owner.dial = Dial(owner)
            self._dials.add(dial)
            dial.task = asyncio.get_running_loop().create_task(self._dial(dial))
            self._tasks.add(dial.task)
            dial.task.add_done_callback(self._tasks.discard)

    def _give_up(self, dial: Dial) -> None:
        dial.owner = None
        self._dials.discard(dial)
        if dial.task is not None:
            dial.task.cancel()

    def _unmade(self, connection: Connection) -> None:
        connection.close()
        # When connecting is cancelled at its last step, uvloop closes the socket without a word to the protocol.
        self.gone(connection)

    async def _dial(self, dial: Dial) -> None:
        connection = Connection(self, asyncio.get_running_loop())
        error: ServiceError | None = None
        try:
            await connect(self._origin, self._context, self._connect_timeout, lambda: connection)
            if not connection.usable():
                error = ConnectFailed("closed as soon as it was open")
        except asyncio.CancelledError:
            self._unmade(connection)
            raise
        except TimeoutError:
            error = ConnectFailed(f"no connection within {self._connect_timeout:.3f} s")
        except Exception as failure:  # noqa: BLE001 - whatever resolver, socket or TLS raise, the caller must be told
            error = ConnectFailed(f"{type(failure).__name__}: {failure}")
        self._dials.discard(dial)
        owner, dial.owner = dial.owner, None
        if owner is not None:
            owner.dial = None
        if error is None:
            self._open.add(connection)
            if self._waiting:
                self._assign(self._waiting.popleft(), connection)
            else:
                self.released(connection)
            return
        self._unmade(connection)
        if owner is not None:
            # Sent before, over a connection that was dropped: "nothing was sent" would be wrong.
            owner.fail(ConnectionLost(error.detail) if owner.fresh else error)
        self._dial_more()
