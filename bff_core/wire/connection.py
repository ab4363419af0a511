"""One connection: bytes in and out, one exchange at a time, closed as soon as anything is odd."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade

from ..errors import BadResponse, CallTimeout, ConnectionLost, ServiceError
from .answer import Answer
from .protocol import WireResponse
from .whole import whole_answer

if TYPE_CHECKING:
    from .exchange import Pending
    from .pool import Pool

__all__ = ["Connection"]

_NEVER = float("inf")
_TOLERANCE = 0.0005
_H = b"H"[0]


class Connection(Answer, asyncio.Protocol):
    """Belongs to ``pool``. ``exchange`` is what it works for, None while it is idle.

    It is the parser's listener itself, for the sake of a call less per event. One timer serves all its exchanges and
    its idleness: it is not moved with every deadline, but looks at ``deadline`` (an instant of ``time.monotonic``)
    when it fires. ``closed`` is true from ``close()`` on; the transport's end follows later.
    """

    __slots__ = (
        "_answered", "_is_closing", "_loop", "_overhead", "_pool", "_reading", "_seen", "_timer", "_timer_at",
        "_transport", "closed", "deadline", "exchange", "room", "used", "write",
    )  # fmt: skip

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(pool.limits)
        self._pool = pool
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._transport: asyncio.Transport | None = None
        self._reading = True
        self._answered = False
        self._overhead = self._seen = 0
        self.deadline = _NEVER
        self.exchange: Pending | None = None
        self.room: asyncio.Future[None] | None = None
        self.closed = False
        self.used = False

    # What the pool and the exchanges ask for

    def usable(self) -> bool:
        """Whether a request may still be written."""
        return not self.closed and not self._is_closing()

    def start(self, exchange: Pending, deadline: float) -> None:
        """Write the request of ``exchange``; the answer must be complete at ``deadline``."""
        self.exchange = exchange
        self.sink = exchange.sink
        self.head_only = exchange.head_only
        exchange.connection = self
        self.deadline = deadline
        if deadline < self._timer_at:
            self._arm(deadline)
        self.write(exchange.payload)
        if self.sink is not None:
            self.sink.begun()

    def until(self, deadline: float) -> None:
        """Move the deadline of what goes on, or of being idle."""
        self.deadline = deadline
        if deadline < self._timer_at:
            self._arm(deadline)

    def close(self) -> None:
        """Close at once, whatever goes on; the slot is free when this returns. The exchange is not told."""
        if self.closed:
            return
        self.closed = True
        self.exchange = self.sink = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()
        self._pool.dropped(self)

    def pause(self) -> None:
        """Read nothing more from the socket."""
        if self._reading and self._transport is not None and self.usable():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Undo ``pause``."""
        if not self._reading and self._transport is not None and self.usable():
            self._reading = True
            self._transport.resume_reading()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self._is_closing = self._transport.is_closing
        self._pool.made(self)

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or something nobody asked for."""
        if self.exchange is None:
            self.close()
        elif self._answered:
            self._parse(data)
        elif (
            self.sink is None and not self.head_only and (response := whole_answer(data, self._pool.limits)) is not None
        ):
            self._part(response, None, keep=True)
        elif data[0] != _H:
            # llhttp takes RTSP and ICE for HTTP, and skips empty lines.
            self._fail(BadResponse("the answer is not HTTP"))
        else:
            self._answered = True
            self._parse(data)

    def eof_received(self) -> None:
        """The server has closed its side: the end of an answer that has no other, else of the connection."""
        if self.exchange is not None and self.ends_with_connection:
            self.keep = False
            self._finish()
        else:
            self._lost()

    def connection_lost(self, _error: Exception | None) -> None:
        """The transport has ended."""
        self._lost()
        del self._parser, self.feed  # they and this object hold each other
        self._pool.gone(self)

    def pause_writing(self) -> None:
        """The transport's buffer is full: ``room`` says when it no longer is."""
        if not self.closed and self.room is None:
            self.room = self._loop.create_future()

    def resume_writing(self) -> None:
        """There is room again."""
        room, self.room = self.room, None
        if room is not None and not room.done():
            room.set_result(None)

    # Within

    def _parse(self, data: bytes) -> None:
        if not self.in_body:
            self.head_bytes += len(data)
        try:
            self.feed(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if self.fault is not None or not self.complete:
                self._fail(self.fault or BadResponse(f"the answer is not HTTP/1.1: {error}"))
                return
            self.keep = False
        if self.complete:
            if self.head_only and self.keep:
                self.keep = data.endswith(b"\r\n\r\n")
                self.renew()
            self._finish()
        elif not self.in_body:
            if self.head_bytes > self._pool.limits.max_head:
                self._fail(BadResponse(f"the head is larger than {self._pool.limits.max_head} bytes"))
        else:
            self._check_framing(len(data))

    def _check_framing(self, size: int) -> None:
        """Trailers and chunk extensions have no end of their own."""
        if self._seen != self.progress():
            self._seen = self.progress()
            self._overhead = 0
            return
        self._overhead += size
        if self._overhead > self._pool.limits.max_head:
            self._fail(BadResponse("more framing than content"))

    def _finish(self) -> None:
        exchange, keep = self.exchange, self.keep
        if exchange is None:
            return
        response: WireResponse | None = None
        error: ServiceError | None = None
        if self.sink is None:
            try:
                response = self.response()
            except BadResponse as bad:
                error, keep = bad, False
        elif exchange.sending:
            keep = False
        if keep:
            self._answered = False
            self._overhead = self._seen = 0
            self.reset()
        self._part(response, error, keep=keep)

    def _part(self, response: WireResponse | None, error: ServiceError | None, *, keep: bool) -> None:
        """The exchange has ended; the connection goes on to the next one, or ends as well."""
        exchange = self.exchange
        if exchange is None:
            return
        exchange.connection = None
        if keep:
            self.used = True
            self.exchange = self.sink = None
            if not self._reading:
                self.resume()
            self._pool.released(self)
        else:
            self.close()
        exchange.end(response, error)

    def _fail(self, error: ServiceError) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.connection = None
        self.close()
        if exchange is not None:
            exchange.end(None, error)

    def _lost(self) -> None:
        if self.closed:
            return
        exchange = self.exchange
        if exchange is not None and self.used and not self._answered and exchange.repeatable:
            exchange.connection = None
            exchange.deadline = self.deadline
            self._pool.again(exchange)  # before the slot is free, so that it gets this one
            self.close()
        else:
            error = ConnectionLost("closed before the answer was complete" if self._answered else "no answer")
            error.stale = self.used and not self._answered
            self._fail(error)

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._look)

    def _look(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if self.deadline - time.monotonic() > _TOLERANCE:
            if self.deadline != _NEVER:
                self._arm(self.deadline)
        elif self.exchange is None:
            self.close()
        else:
            self._fail(CallTimeout("no complete answer in time"))
