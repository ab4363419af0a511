"""One client's connection: requests in, exchanges begun in order, answers out, and an end to whoever takes too long or
too much.

Written for uvicorn's ``http=``. uvicorn's own protocols have no cap on the size of a head, no time limit on the first
head of a connection, on a body nobody reads or on a client that reads nothing, and take HTTP/0.9.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from ..errors import Problem
from ..hardening import Hardening
from ..limits import Turns
from .caps import Begin, Caps
from .exchange import HIGH_WATER, STATUS_LINES, Exchange, whole_problem
from .head import Headers, header_fields, plain_request
from .pipeline import Pipeline
from .reader import Head, RequestReader
from .scopes import Scopes
from .timers import DeadlineTimer, StallTimer
from .upgrade import hand_over

__all__ = ["Http1Protocol", "http1_protocol"]

log = logging.getLogger("uvicorn.error")

_GRACE = 1.0
_REMEMBERED = 4096
"""The largest block of header lines that is kept to be recognized when the connection brings it again."""
_PROBE = b"GET /health/"
"""Whoever asks whether we live does not wait: it would give us up just when there is much to do."""
IDLE, HEAD, BODY, ANSWERING = range(4)


class Http1Protocol(asyncio.Protocol):
    """For ``uvicorn --http bff_core.server:Http1Protocol``; ``http1_protocol`` gives one with a gateway's own caps.

    ``room`` is there while the client takes less than there is for it, and set when it has taken enough.
    """

    __slots__ = (
        "_app", "_block", "_caps", "_config", "_default_headers", "_default_lines", "_fields", "_is_closing", "_let_go",
        "_loop", "_phase", "_pipeline", "_reader", "_reading", "_scopes", "_stall", "_state", "_state_of_app",
        "_stopping", "_timer", "_transport", "_turns", "_unread", "_websocket",
        "room",
    )  # fmt: skip

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        caps: Caps | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._app: Any = config.loaded_app
        self._state = server_state
        self._state_of_app = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._caps = caps or Caps()
        self._timer = DeadlineTimer(self._loop, self._late)
        self._phase = HEAD
        # What llhttp reads; most connections never need it.
        self._reader: RequestReader | None = None
        self._reading = True
        self._let_go = False
        self._websocket: Head | None = None
        self.room: asyncio.Event | None = None
        self._turns = self._caps.turns
        # What has come, and waits for its turn.
        self._unread = b""
        self._stopping = False
        self._block = b""
        self._fields: Headers = []
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    # asyncio and uvicorn call these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection must bring a whole head in time."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_closing = self._transport.is_closing
        self._stall = StallTimer(self._loop, self._transport, self._caps.write_timeout)
        self._state.connections.add(cast("Any", self))
        self._scopes = Scopes(self._config, self._transport, self._state_of_app)
        self._pipeline = Pipeline(self._app, self._caps, self._loop, self._transport, self._state.tasks)
        self._timer.within(self._caps.header_timeout)

    def connection_lost(self, _error: Exception | None) -> None:
        """Whoever still works for this client is told; no timer outlives its connection."""
        self._state.connections.discard(cast("Any", self))
        self._timer.end()
        self._stall.stop()
        self._let_go = True
        self._unread = b""
        self._pipeline.leave()
        self.resume_writing()
        self._reader = None  # it and this object hold each other

    def eof_received(self) -> None:
        """The client says that no more will come: the connection ends when what has been written is sent."""
        self._close()

    def data_received(self, data: bytes) -> None:
        """A request begins when it is its turn; of one that has begun the rest is read at once."""
        if self._let_go or self._is_closing():
            return
        reader = self._reader
        if self._pipeline.due or (reader is not None and reader.receiving and not reader.in_head):
            self._read(data)
        elif not self._unread and (self._turns is None or data.startswith(_PROBE) or self._turns.enter(self)):
            self._take(data)
        else:
            self._unread += data
            if len(self._unread) > HIGH_WATER:
                self.pause()

    def pause_writing(self) -> None:
        """The client has to go on taking something."""
        if self.room is None:
            self.room = asyncio.Event()
        self._stall.watch()

    def resume_writing(self) -> None:
        """It has taken nearly all."""
        room, self.room = self.room, None
        if room is not None:
            room.set()
        if not self._is_closing():
            self._stall.stop()

    def shutdown(self) -> None:
        """The server stops: what has been asked is answered, then the connection ends."""
        if self._unread:
            self._stopping = True
            return
        pipeline = self._pipeline
        if pipeline.queue:
            pipeline.queue[-1][0].keep_alive = False
        elif pipeline.current is not None and not pipeline.current.complete:
            pipeline.current.keep_alive = False
        else:
            self._close()

    # The turns call this

    def its_turn(self, arrived: float) -> None:
        """That of what is unread."""
        data, self._unread = self._unread, b""
        if not data or self._is_closing():
            return
        self._scopes.arrived = arrived
        self.resume()
        try:
            self._take(data)
        except Exception:
            self._transport.abort()
            raise
        # Of a head that is not whole the rest may be long in coming, and an empty line is no request.
        self._scopes.arrived = 0.0
        if self._stopping and self._websocket is None:
            self.shutdown()

    # Exchanges call these

    def write(self, data: bytes) -> None:
        """To the client, if it is still there."""
        if not self._is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        """Read nothing more from the socket."""
        if self._reading and not self._is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Undo ``pause``, unless enough wait to be answered."""
        if not self._reading and not self._pipeline.queue and not self._is_closing():
            self._reading = True
            self._transport.resume_reading()

    def default_lines(self) -> bytes:
        """The header lines that go with every answer."""
        headers = self._state.default_headers
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._default_lines

    def answered(self, exchange: Exchange) -> None:
        """The answer has been written; who waits is next."""
        self._state.total_requests += 1
        if not exchange.keep_alive:
            self._close()
        elif self._is_closing():
            self._stall.watch()
        else:
            if self._pipeline.queue:
                self._pipeline.advance()
            if not self._pipeline.queue:
                self.resume()
                if exchange is self._pipeline.current:
                    self._rest()

    def forget(self, task: asyncio.Task[Any], exchange: Exchange, error: BaseException | None) -> None:
        """The application's task has ended, and should have answered."""
        self._state.tasks.discard(task)
        if error is not None:
            log.error("Exception in ASGI application", exc_info=error)
        if exchange.complete or exchange.left:
            return
        if error is None:
            log.error("ASGI application ended without completing its response.")
        exchange.keep_alive = False
        if not exchange.answer(*whole_problem(Problem(500, "Something went wrong here."))):
            exchange.complete = True
            self._close()

    # The reader calls these

    def begun(self, head: Head) -> None:
        """A request's head is whole."""
        if head.upgrade:
            # To be answered here all the same, unless a WebSocket is asked for. But llhttp lets go of the connection:
            # the rest of this segment will be dropped, and the next one would be read as a request, from wherever in
            # the stream it is.
            self._let_go = True
            asked = [value.lower() for name, value in head.headers if name == b"upgrade"]
            if asked == [b"websocket"] and self._config.ws_protocol_class is not None and not self._pipeline.due:
                self._websocket = head
                self._pipeline.newest = None
                return
        self._phase = ANSWERING
        exchange = Exchange(
            self,
            head_only=head.method == "HEAD",
            keep_alive=head.keep_alive,
            http_1_0=head.version == "1.0",
            expects_continue=head.expects_continue and head.version != "1.0",
        )
        scope = self._scopes.make(exchange, head.method, head.path, head.query, head.version, head.headers)
        self._pipeline.add(exchange, scope)
        if self._pipeline.queue:
            self.pause()

    def body(self, piece: bytes) -> None:
        """A piece of its content."""
        if self._pipeline.newest is not None:
            self._pipeline.newest.take(piece)

    def whole(self, *, keep_alive: bool) -> None:
        """It is whole."""
        exchange = self._pipeline.newest
        if exchange is None:
            return
        exchange.end()
        if exchange.keep_alive and not keep_alive:
            # A trailer said so, and llhttp hears nothing from now on.
            exchange.keep_alive = False
            if exchange.complete:
                self._close()

    # Within

    def _take(self, data: bytes) -> None:
        """The usual request, whole, is read at a glance; everything else by llhttp."""
        if (
            (self._reader is None or not self._reader.receiving)
            and len(data) <= self._caps.max_head
            and (request := plain_request(data)) is not None
        ):
            method, path, query, block = request
            fields: Headers | None = self._fields
            if block != self._block:
                fields = header_fields(block)
                if fields is not None and len(block) <= _REMEMBERED:
                    self._block, self._fields = block, fields
            if fields is not None:
                exchange = Exchange(self, head_only=method == "HEAD", keep_alive=True, http_1_0=False)
                exchange.end()
                self._phase = ANSWERING
                self._timer.rest()
                self._pipeline.newest = exchange
                self._pipeline.start(exchange, self._scopes.make(exchange, method, path, query, "1.1", fields.copy()))
                return
        self._read(data)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self)
        if self._phase == IDLE:
            self._enter(HEAD, self._caps.header_timeout)
        try:
            reader.feed(data)
        except httptools.HttpParserUpgrade:
            if self._websocket is not None:
                self.resume()
                self._timer.end()
                self._state.connections.discard(cast("Any", self))
                self._reader = None
                hand_over(self._websocket, self._transport, self._config, self._state, self._state_of_app)
                return
        except httptools.HttpParserError as error:
            # What a callback raises comes as the parser's error.
            cause = error.__context__
            ours = cause is not None and not isinstance(cause, (httptools.HttpParserError, UnicodeDecodeError))
            log.warning("Invalid HTTP request received.", exc_info=cause if ours else None)
            self._refuse(Problem(400, "Invalid HTTP request received."))
            return
        if self._is_closing():
            self._timer.stop()
        elif reader.receiving:
            self._receive_on(reader)
        elif self._pipeline.due:
            self._phase = ANSWERING
            self._timer.rest()
        elif reader.ended and self._phase != IDLE:
            self._rest()

    def _receive_on(self, reader: RequestReader) -> None:
        if reader.size > self._caps.max_head:
            self._refuse(Problem(431, f"The headers are larger than {self._caps.max_head} bytes."))
        elif reader.in_head:
            if self._phase != HEAD:
                self._enter(HEAD, self._caps.header_timeout)
        elif self._phase != BODY:
            # The application has a time limit for bodies of its own, and a better answer.
            self._enter(BODY, self._caps.body_timeout + _GRACE)

    def _refuse(self, problem: Problem) -> None:
        self._timer.stop()
        pipeline, reader = self._pipeline, self._reader
        newest, queue = pipeline.newest, pipeline.queue
        if reader is not None and reader.receiving and not reader.in_head and queue:
            queue.pop()  # what is wrong is the body of the last that waits
            newest = queue[-1][0] if queue else pipeline.current
        elif newest is not None and newest is pipeline.current and not newest.whole and not newest.started:
            newest = None  # it is this one's own body
        if newest is None or newest.complete:
            status, headers, body = whole_problem(problem)
            lines = b"".join([b"%b: %b\r\n" % header for header in headers])
            self.write(b"%b%bconnection: close\r\n\r\n%b" % (STATUS_LINES[status], lines, body))
        elif newest.whole:
            # An answer is still due, for which this one would be taken. It is the last.
            newest.keep_alive = False
            self._let_go = True
            return
        self._close()

    def _close(self) -> None:
        """When what has been written is sent, or the client takes nothing of it."""
        self._transport.close()
        self._stall.watch()

    def _rest(self) -> None:
        """All answers are written. What is left of a body that nobody wants has to come in time."""
        if self._reader is None or not self._reader.receiving:
            self._enter(IDLE, self._config.timeout_keep_alive)
        elif not self._reader.in_head:
            self._enter(BODY, self._caps.body_timeout)

    def _enter(self, phase: int, seconds: float) -> None:
        self._phase = phase
        self._timer.within(seconds)

    def _late(self) -> None:
        if self._is_closing():
            return
        reader = self._reader
        newest = self._pipeline.newest
        if not self._reading or self._unread or (self._phase == BODY and newest is not None and not newest.complete):
            # It is we who do not read, or let it wait; and whoever is to take a body says how long that may take.
            self._timer.within(self._caps.header_timeout)
        elif self._phase == HEAD and reader is not None and reader.receiving:
            self._refuse(Problem(408, f"The headers did not arrive within {self._caps.header_timeout:g} seconds."))
        else:
            self._close()


def http1_protocol(
    hardening: Hardening, begin: Begin | None = None, turns: Turns | None = None
) -> Callable[..., Http1Protocol]:
    """uvicorn's ``http=`` for a gateway with these settings; ``begin`` and ``turns`` are the gateway's own."""
    return partial(Http1Protocol, caps=Caps.of(hardening, begin, turns))
