"""What uvicorn leaves open before a request reaches the application: heads without end, and clients that never finish.

uvicorn's httptools protocol has no cap on the size of a head (ten megabytes go through), no time limit on the first
head of a connection or on a body nobody reads, and takes HTTP/0.9. All of that is here, and costs a well-behaved
request nothing but a look at two flags.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ..errors import PROBLEM_JSON, Problem
from .answers import WHOLE_ANSWER, Header, Reply
from .settings import Hardening

__all__ = ["GuardedProtocol", "guarded"]

_GRACE = 1.0


class _Head(list[tuple[bytes, bytes]]):
    """The headers of a request whose head is whole. Trailers are no headers (RFC 9110 section 6.5.1): who reads one of
    these is told what the proxies before us have seen and perhaps taken away, and nothing else."""

    def append(self, _: tuple[bytes, bytes], /) -> None:
        """The parser has a trailer."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with caps. For ``uvicorn --http bff_core.hardening.server:GuardedProtocol``, and with a
    gateway's own values from ``guarded``. Sizes are bytes, times seconds."""

    max_head: ClassVar[int] = 64 * 1024
    header_timeout: ClassVar[float] = 10.0
    body_timeout: ClassVar[float] = 10.0
    write_timeout: ClassVar[float] = 30.0

    _timer: asyncio.TimerHandle | None = None
    _timed_head = True
    _head_bytes = 0
    _in_head = True
    _receiving = True
    _body_came = False
    _stall: asyncio.TimerHandle | None = None
    _unsent = 0
    _let_go = False

    @staticmethod
    def at_once(scope: Scope) -> Reply | None:  # noqa: ARG004 - for the gateway's own
        """The answer to a request that needs no waiting, and so no task."""
        return None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A connection must bring a whole head in time."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """No timer outlives its connection."""
        self._disarm()
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; then see whether the request goes on longer than it may."""
        if self._let_go:
            return
        self._body_came = False
        super().data_received(data)
        if self.transport.is_closing():
            self._disarm()
        elif not self._receiving:
            if not self.cycle.response_complete:
                self._disarm()
            elif self._timer is None:
                # Between requests uvicorn's keep-alive timer runs; what is no request (a stray line end) stopped it.
                self._arm()
        else:
            if not self._body_came:
                # Of the head, or of what else is no content: trailers, extensions of chunks.
                self._head_bytes += len(data)
                if self._head_bytes > self.max_head:
                    self._refuse(Problem(431, f"The headers are larger than {self.max_head} bytes."))
                    return
            if self._timer is None or self._timed_head is not self._in_head:
                self._arm()

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's now."""
        self._disarm()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._receiving = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        if not self.url.startswith(b"/"):
            self._read_absolute_form()
        # To be answered here all the same, but llhttp lets go of the connection: the rest of this segment will be
        # dropped, and the next one would be read as a request, from wherever in the stream it is.
        self._let_go = self.parser.should_upgrade() and not self._should_upgrade()
        scope = self.scope
        self.headers = scope["headers"] = _Head(self.headers)
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is scope:
            cast("dict[str, Any]", scope)[WHOLE_ANSWER] = partial(_answer, self.cycle)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.transport.is_closing():
            return  # RFC 9112 section 9.6: nothing is done behind a last request
        if self._let_go and cycle is self.cycle:
            cycle.keep_alive = False
        reply = self.at_once(cast("Scope", cycle.scope))
        if reply is None or not _answer(cycle, *reply):
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A piece of its content."""
        self._body_came = True
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        self._receiving = False
        super().on_message_complete()
        cycle = self.cycle
        if cycle is not None and cycle.keep_alive and not self.parser.should_keep_alive():
            # A trailer said so, and llhttp hears nothing from now on.
            cycle.keep_alive = False
            if cycle.response_complete:
                self.transport.close()

    def pause_writing(self) -> None:
        """The client takes less than there is for it: it has to go on taking something."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It has taken nearly all."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._unwatch()

    def on_response_complete(self) -> None:
        """An answer has been written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """There has been no further request."""
        super().timeout_keep_alive_handler()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is answered like every other mistake."""
        self._refuse(Problem(400, msg))

    def _refuse(self, problem: Problem) -> None:
        self._disarm()
        cycle = self.cycle
        reads_body = self._receiving and not self._in_head
        # Where an answer is still due to an earlier request, this one would be taken for it.
        if cycle is None or cycle.response_complete or (reads_body and not cycle.response_started):
            body = problem.body()
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
                b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n%s"
                % (problem.status, problem.title.encode(), PROBLEM_JSON, len(body), body)
            )
        self.transport.close()

    def _read_absolute_form(self) -> None:
        """The authority of an absolute request target stands above ``Host`` (RFC 9112 section 3.2.2)."""
        target = httptools.parse_url(self.url)
        # None, or two, are refused later.
        if target.host and sum(name == b"host" for name, _ in self.headers) == 1:
            host = b"[%s]" % target.host if b":" in target.host else target.host
            authority = host + (b":%d" % target.port if target.port else b"")
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", authority))

    def _watch(self) -> None:
        """See to it that what is left to send gets less. Else a client that reads nothing would keep the answer, the
        request behind it and the connection for as long as it likes."""
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent and self._stall is None:
            self._stall = self.loop.call_later(self.write_timeout, self._stalled)

    def _unwatch(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        self._stall = None
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch()
        else:
            self.transport.abort()

    def _arm(self) -> None:
        self._disarm()
        self._timed_head = self._in_head
        # The application has a time limit for bodies of its own, and a better answer.
        in_body = self._receiving and not self._in_head
        seconds = self.body_timeout + _GRACE if in_body else self.header_timeout
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            # It is we who do not read.
            self._arm()
        elif self._head_bytes and self._in_head:
            self._refuse(Problem(408, f"The headers did not arrive within {self.header_timeout:g} seconds."))
        else:
            self.transport.close()


def _answer(cycle: RequestResponseCycle, status: int, headers: Iterable[Header], body: bytes) -> bool:
    """Write a whole answer at once, with headers known to be well formed; false when it has to go the usual way.

    uvicorn would look at each header's name and value again, and be told in two messages.
    """
    if cycle.disconnected:
        return True
    if cycle.response_started or cycle.flow.write_paused:
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    cycle.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], b"".join(lines), body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
    return True


def guarded(hardening: Hardening, at_once: Callable[[Scope], Reply | None] | None = None) -> type[GuardedProtocol]:
    """uvicorn's ``http=`` for a gateway with these settings; ``at_once`` answers what needs no waiting."""
    values: dict[str, Any] = {
        # The request line and what stands around names and values; admission counts exactly.
        "max_head": hardening.max_header_bytes + 64 * 1024,
        "header_timeout": hardening.header_timeout,
        "body_timeout": hardening.body_timeout,
    }
    if at_once is not None:
        values["at_once"] = staticmethod(at_once)
    return type("GuardedProtocol", (GuardedProtocol,), values)
