"""A connection of the server without a socket, fed any bytes; and two other readings of the same bytes.

What must hold: each request the application sees is one that llhttp (and h11, where it takes it) reads at that place of
the stream, no byte of a body is ever a request, and there is one answer to each, in order, until the connection ends.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, cast

import h11
import httptools
import uvicorn
from uvicorn.server import ServerState

from bff_core.errors import Problem
from bff_core.hardening import EXCHANGE
from bff_core.hardening.admission import Admission
from bff_core.hardening.hosts import HostRule
from bff_core.limits import Turns
from bff_core.limits.turns import CALLS_PER_TURN
from bff_core.server import Caps, Http1Protocol
from bff_core.settings import Settings

__all__ = ["Seen", "check", "check_bytes", "encoded", "pieces_of", "serve"]

CUT, AT_ONCE = b"\xf8", b"\xf9"
"""What a corpus file has between pieces: the second kind leaves the application no time in between."""

TURNS = 8
LIMIT = 4096

_REQUEST_LINE = re.compile(r"illegal request line: bytearray\(b['\"](\\r)*([A-Z]+ +\S+ +HTTP/1\.[01])?['\"]\)")
_Pairs = list[tuple[bytes, bytes]]


@dataclass
class Seen:
    """A request as somebody reads it; ``body`` is None when it did not come whole."""

    method: str
    target: bytes
    headers: _Pairs
    body: bytes | None = None
    admitted: bool = False


@dataclass
class Served:
    """What the application saw, how often it refused, and what the connection wrote."""

    seen: list[Seen] = field(default_factory=list)
    written: bytes = b""
    closed: bool = False
    faults: list[dict[str, Any]] = field(default_factory=list)


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = self.paused = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0


class Application:
    """Answers with the number of the request and what came of it; early, late, and by the server's quicker way too.
    About every other request takes a whole turn, and what comes behind it waits."""

    def __init__(self) -> None:
        self.served = Served()
        self.turns = Turns()
        self.admission = Admission(Settings(services={}), HostRule(["a", "*.b"]), None)
        self.admission._warned = True  # of a host that is refused, which it says once

    def _see(self, scope: Any) -> tuple[int, Seen]:
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        seen = Seen(scope["method"], target, list(scope["headers"]))
        self.served.seen.append(seen)
        return len(self.served.seen) - 1, seen

    def begin(self, scope: Any, _receive: Any, _send: Any) -> Any:
        """Without a task, before the body has come, and without a look at it."""
        if len(scope["raw_path"]) % 2:
            self.turns.take(CALLS_PER_TURN)
        if b"kept" not in scope["raw_path"]:
            return None
        number, _ = self._see(scope)
        return 200, [(b"x-number", b"%d" % number), (b"content-length", b"0")], b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number, seen = self._see(scope)
        target = seen.target
        headers, status = [(b"x-number", b"%d" % number)], 200
        try:
            receive = self.admission.admit(scope, receive)
            seen.admitted = True
            if b"early" not in target:
                seen.body = await _read(receive)
        except Problem as problem:
            status = problem.status
            headers += [(name.encode(), value.encode()) for name, value in (problem.headers or {}).items()]
        if b"late" in target:
            await asyncio.sleep(0)
        body = b"" if scope["method"] == "HEAD" else b"%d %b" % (number, scope["raw_path"][:20])
        headers.append((b"content-length", b"%d" % len(body)))
        if b"quick" in target and status == 200 and scope[EXCHANGE].answer(status, headers, body):
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _read(receive: Any) -> bytes | None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


@cache
def _runner() -> asyncio.Runner:
    """One loop for all: to make one takes longer than an input."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


@cache
def _config() -> tuple[Application, uvicorn.Config, Callable[..., Http1Protocol]]:
    application = Application()
    kind = partial(Http1Protocol, caps=Caps(max_head=LIMIT, begin=application.begin, turns=application.turns))
    config = uvicorn.Config(application, http=cast("Any", kind), lifespan="off", log_config=None, ws="none")
    config.load()
    return application, config, kind


async def _serve(pieces: list[tuple[bytes, bool]]) -> Served:
    application, config, kind = _config()
    served = application.served = Served()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: served.faults.append(context))
    state = ServerState()
    protocol = kind(config, state, {}, loop)
    transport = Transport()
    protocol.connection_made(transport)
    for piece, pause in pieces:
        if transport.closed:
            break
        for _ in range(100):
            if not transport.paused or transport.closed:
                break
            await asyncio.sleep(0)
        assert not transport.paused or transport.closed, "reading was paused for good"
        if piece and not transport.closed:
            protocol.data_received(piece)
        await _rounds(application, state, TURNS * pause)
    await _rounds(application, state, 4 * TURNS)
    served.closed = transport.closed
    protocol.eof_received()
    protocol.connection_lost(None)
    await _rounds(application, state, TURNS)
    assert not state.tasks, "an application without an end"
    served.written = transport.written
    return served


async def _rounds(application: Application, state: ServerState, most: int) -> None:
    """Let the application go on, while there is something it does or that waits for it."""
    for _ in range(most):
        if not state.tasks and not application.turns.waited(math.inf):
            break
        await asyncio.sleep(0)


def serve(pieces: list[tuple[bytes, bool]]) -> Served:
    """Feed ``pieces``, with time for the application after those marked so; then the client closes."""
    disabled, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        return _runner().run(_serve(pieces))
    finally:
        logging.root.manager.disable = disabled


# Two other readings


class _Llhttp:
    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.requests: list[Seen] = []
        self.headers: _Pairs = []
        self.target = self.body = b""

    def on_message_begin(self) -> None:
        self.headers, self.target, self.body = [], b"", b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        method = self.parser.get_method().decode()
        self.requests.append(Seen(method, self.target, list(self.headers)))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests[-1].body = self.body


def by_llhttp(data: bytes) -> tuple[list[Seen], str]:
    """The requests in ``data``, strictly read, and what is wrong behind them."""
    one = _Llhttp()
    try:
        one.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        return one.requests, str(error) or type(error).__name__
    return one.requests, ""


def by_h11(data: bytes) -> tuple[list[Seen], str]:
    """The same, read by h11."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    requests: list[Seen] = []
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                requests.append(Seen(event.method.decode(), event.target, list(event.headers)))
                body = b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                requests[-1].body = body
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    return requests, "the connection ends"
                connection.start_next_cycle()
            else:
                return requests, ""
    except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
        return requests, str(error)


class _Answers:
    """Reads what the connection wrote."""

    def __init__(self, methods: list[str]) -> None:
        self.methods = methods
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[bytes, bytes] = {}
        self.statuses: list[int] = []
        self.numbers: list[int] = []

    def on_message_begin(self) -> None:
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != 100:
            self.statuses.append(status)
            self.numbers.append(int(self.headers.get(b"x-number", b"-1")))


# What must hold


def check(pieces: list[tuple[bytes, bool]]) -> Served:
    """Raise ``AssertionError`` when a request is not what and where the bytes say."""
    data = b"".join(piece for piece, _ in pieces)
    served = serve(pieces)
    assert not served.faults, served.faults
    read, fault = by_llhttp(data)
    assert len(served.seen) <= len(read), ("more requests than there are", served.seen, read, fault)
    for seen, there in zip(served.seen, read, strict=False):
        _same(seen, there)
    assert served.closed or len(served.seen) == len(read), ("a request without an answer", served.seen, read, fault)
    assert served.closed or not fault, ("still open", served.seen, read, fault)
    other, other_fault = by_h11(data)
    for seen, there in zip(served.seen, other, strict=False):
        _same(seen, there)
    if len(served.seen) > len(other):
        assert other_fault, ("more requests than h11 reads", served.seen, other)
        # What h11 refuses is refused by us, one floor above the parser, or harmless.
        refused = not served.seen[len(other)].admitted
        assert refused or _h11_alone(other_fault), ("a request that h11 refuses", other_fault, served.seen)
    answers = _Answers([seen.method for seen in served.seen])
    answers.parser.feed_data(served.written)
    own = [number for number in answers.numbers if number >= 0]
    assert own == list(range(len(own))), ("answers out of order", served.written)
    assert -1 not in answers.numbers[:-1], ("something behind a refusal", served.written)
    return served


def _h11_alone(fault: str) -> bool:
    # Empty lines before a request (RFC 9112 2.2), and more than one space within its line (section 3).
    return fault == "no request line received" or _REQUEST_LINE.fullmatch(fault) is not None


def _same(seen: Seen, there: Seen) -> None:
    target = there.target
    assert seen.method == there.method, ("another method", seen, there)
    if target.startswith(b"/"):
        assert seen.target.rstrip(b"?") == target.partition(b"#")[0].rstrip(b"?"), ("another target", seen, there)
        assert _plain(seen.headers) == _plain(there.headers), ("other headers", seen, there)
    if seen.body is not None:
        assert seen.body == there.body, ("another body", seen, there)


def _plain(headers: _Pairs) -> _Pairs:
    return [(name.lower(), value.strip(b" \t").lower()) for name, value in headers]


# Corpus files


def encoded(pieces: list[tuple[bytes, bool]]) -> bytes:
    """As a corpus file."""
    return b"".join(piece + (CUT if pause else AT_ONCE) for piece, pause in pieces)


def pieces_of(data: bytes) -> list[tuple[bytes, bool]]:
    """What a corpus file says; any bytes say something."""
    pieces, start = [], 0
    for at, mark in enumerate(data):
        if mark in CUT + AT_ONCE:
            pieces.append((data[start:at], mark == CUT[0]))
            start = at + 1
    return [*pieces, (data[start:], True)]


def check_bytes(data: bytes) -> None:
    """``check`` of a corpus file."""
    check(pieces_of(data))
