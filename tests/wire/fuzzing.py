"""A connection of the wire without socket, loop or clock, fed any bytes; and two other readings of the same bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import h11
import httptools

from bff_core.errors import BadResponse, ServiceError
from bff_core.wire import WireResponse
from bff_core.wire.answer import Limits
from bff_core.wire.connection import Connection
from bff_core.wire.decode import decode
from bff_core.wire.exchange import Buffered, Pending

__all__ = ["LIMITS", "Asked", "Outcome", "check", "check_bytes", "conversation", "converse", "encoded", "run"]

LIMITS = Limits(max_body=10_000, max_head=4096, max_headers=20)
CUT, NEXT, HEAD, STREAM = b"\xf8", b"\xf9", b"\xfa", b"\xfb"
"""What a corpus file has among the bytes of the server: between pieces, between answers, before answers."""

_Headers = list[tuple[bytes, bytes]]
_STATUS_LINE = re.compile(r"illegal status line: bytearray\(b['\"](\\r)*HTTP/1\.")
_BY_PARSER = "the answer is not HTTP/1.1: "


@dataclass
class Asked:
    """A request, and the pieces in which the server's bytes for it come; then the server closes or is asked again."""

    pieces: list[bytes]
    head: bool = False
    streamed: bool = False


@dataclass
class Outcome:
    """How an exchange ended; ``reusable``: the connection would have taken the next one."""

    status: int = 0
    headers: _Headers = field(default_factory=list)
    body: bytes = b""
    error: str = ""
    kind: str = ""
    reusable: bool = False

    @property
    def answer(self) -> tuple[int, _Headers, bytes] | None:
        return None if self.kind else (self.status, self.headers, self.body)


class Transport:
    """A transport of which nothing happens but what the test does."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Timer:
    def cancel(self) -> None: ...


class Loop:
    def call_later(self, *_: object) -> Timer:
        return Timer()


class Pool:
    """Stands in for the pool: ``idle`` says whether the connection came back for reuse."""

    def __init__(self) -> None:
        self.limits = LIMITS
        self.in_flight = 1
        self.idle = False

    def made(self, _: Connection) -> None: ...
    def gone(self, _: Connection) -> None: ...
    def dropped(self, _: Connection) -> None: ...
    def forget(self, _: object) -> None: ...
    def released(self, _: Connection) -> None:
        self.idle = True


class Recorder(Pending):
    """An exchange whose answer passes through, written down with the order of events."""

    __slots__ = ("error", "outcome")

    def __init__(self, pool: Any, head: bool) -> None:
        super().__init__(pool, b"", False, head)
        self.sink = self
        self.outcome = Outcome()

    def begun(self) -> None: ...

    def answered(self, status: int, headers: _Headers) -> None:
        assert not self.outcome.status, "answered twice"
        self.outcome.status, self.outcome.headers = status, headers

    def take(self, piece: bytes) -> None:
        assert self.outcome.status, "a body before its head"
        assert not self.ended, "a body after its end"
        self.outcome.body += piece

    def end(self, _response: WireResponse | None, error: ServiceError | None) -> None:
        assert not self.ended, "ended twice"
        self.ended = True
        if error is not None:
            self.outcome.kind, self.outcome.error = type(error).__name__, str(error)
        else:
            assert self.outcome.status, "ended without a head"


def converse(asked: list[Asked]) -> list[Outcome]:
    """Ask over one connection for as long as it is kept; after the last request the server closes it."""
    pool: Any = Pool()
    transport = Transport()
    connection = Connection(pool, Loop())  # type: ignore[arg-type]
    connection.connection_made(transport)  # type: ignore[arg-type]
    outcomes: list[Outcome] = []
    for number, request in enumerate(asked):
        pool.idle = False
        ends: list[tuple[WireResponse | None, ServiceError | None]] = []
        recorder = Recorder(pool, request.head)
        buffered = Buffered(pool, b"", False, request.head, lambda r, e, ends=ends: ends.append((r, e)))
        exchange = recorder if request.streamed else buffered
        connection.start(exchange, 1e12)
        for piece in request.pieces:
            if piece and not connection.closed:
                connection.data_received(piece)
        reusable = pool.idle and not connection.closed
        if number + 1 == len(asked) and not connection.closed:
            connection.eof_received()
        if not exchange.ended:  # more than there was to answer it with, and another request is next
            connection.eof_received()
        assert exchange.ended, "an exchange without an end"
        if request.streamed:
            outcome = recorder.outcome
        else:
            ((response, error),) = ends
            outcome = Outcome()
            if response is None:
                outcome.kind, outcome.error = type(error).__name__, str(error)
            else:
                assert len(response.body) <= LIMITS.max_body
                assert type(response.body) is bytes
                outcome = Outcome(response.status, response.headers, response.body)
        outcome.reusable = reusable
        outcomes.append(outcome)
        if not reusable:
            assert connection.closed, "neither kept nor closed"
            break
    connection.connection_lost(None)
    assert transport.closed or outcomes[-1].reusable
    return outcomes


def run(data: bytes, cuts: list[int], head: bool = False, *, streamed: bool = False) -> Outcome:
    """One exchange, its answer cut at ``cuts`` (modulo its length)."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in pairwise(edges)]
    return converse([Asked(pieces, head, streamed)])[0]


# Two other readings


@dataclass
class Reading:
    """``complete``: a whole answer came; ``fault``: what followed, or it, is wrong; ``keep``: may be used again."""

    status: int = 0
    headers: _Headers = field(default_factory=list)
    body: bytes = b""
    complete: bool = False
    fault: str = ""
    keep: bool = False


class _Llhttp:
    """llhttp as it comes, told nothing of our limits and opinions, and fed everything at once."""

    def __init__(self, head: bool) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reading = Reading()
        self.head = head
        self.headers: _Headers = []
        self.final = False

    def on_message_begin(self) -> None:
        self.headers = []
        if self.reading.complete:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status >= 200:
            self.final = True
            self.reading.status, self.reading.headers = status, list(self.headers)
            self.reading.keep = self.parser.should_keep_alive()
            if self.head:
                self.reading.complete = True
                raise ValueError("the end of an answer to HEAD")

    def on_body(self, piece: bytes) -> None:
        if not self.final:
            raise ValueError("the body of an informational answer")  # RFC 9110 15.2: there is none
        self.reading.body += piece

    def on_message_complete(self) -> None:
        self.reading.complete = self.final


def by_llhttp(data: bytes, head: bool) -> Reading:
    """What llhttp makes of ``data`` and the connection's end."""
    one = _Llhttp(head)
    try:
        one.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        one.reading.fault = str(error) or type(error).__name__
    reading = one.reading
    framed = {b"content-length", b"transfer-encoding"} & {name for name, _ in reading.headers}
    if one.final and not reading.complete and not reading.fault and not framed:
        reading.complete = True
    return reading


def by_h11(data: bytes, head: bool) -> Reading:
    """What h11 makes of ``data`` and the connection's end."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="HEAD" if head else "GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    reading = Reading()
    try:
        connection.receive_data(data)
        if not _events(connection, reading):
            connection.receive_data(b"")
            _events(connection, reading)
    except h11.RemoteProtocolError as error:
        reading.fault = str(error)
    reading.keep = connection.their_state is h11.DONE and not connection.trailing_data[0].strip(b"\r\n")
    if connection.their_http_version == b"1.0":
        # Never, says h11; llhttp looks at what the server says.
        reading.keep = not any(
            b"close" in value.lower() for name, value in reading.headers if name.lower() == b"connection"
        )
    return reading


def _events(connection: h11.Connection, reading: Reading) -> bool:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return False
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            raise h11.RemoteProtocolError("switching protocols")
        if isinstance(event, h11.Response):
            reading.status, reading.headers = event.status_code, event.headers.raw_items()
        elif isinstance(event, h11.Data):
            reading.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            reading.complete = True
            return True


# What must hold


def check(asked: list[Asked]) -> list[Outcome]:
    """Raise ``AssertionError`` when the wire gives what the bytes do not say, or keeps what it should not."""
    outcomes = converse(asked)
    for number, (request, outcome) in enumerate(zip(asked, outcomes, strict=False)):
        data = b"".join(request.pieces)
        last = number + 1 == len(asked)
        alone = outcome if len(asked) == 1 else converse([request])[0]
        assert (outcome.answer, outcome.kind, outcome.reusable) == (alone.answer, alone.kind, alone.reusable) or (
            not last and not outcome.reusable
        ), ("a used connection reads otherwise than a new one", outcome, alone)
        whole = converse([Asked([data], request.head, request.streamed)])[0]
        if outcome.answer is not None and whole.answer is not None:
            assert outcome.answer == whole.answer, ("cut otherwise, read otherwise", outcome, whole)
        else:
            assert _same_but_for_size(outcome, whole), ("cut otherwise, judged otherwise", outcome, whole)
        _compare(data, request, outcome)
    return outcomes


def _same_but_for_size(one: Outcome, other: Outcome) -> bool:
    # How much of a head has come is counted by pieces.
    sizes = ("larger than", "more framing", "more than")
    return one.kind == other.kind or any(size in x.error for size in sizes for x in (one, other))


def _compare(data: bytes, request: Asked, outcome: Outcome) -> None:
    llhttp = by_llhttp(data, request.head)
    if outcome.kind:
        assert not outcome.reusable
        if outcome.error.startswith(_BY_PARSER):
            assert not llhttp.complete or llhttp.fault, ("refused, and llhttp takes it", outcome, llhttp)
        if outcome.kind == "ConnectionLost":
            assert not llhttp.complete, ("lost, and llhttp has it whole", outcome, llhttp)
        return
    assert llhttp.complete, ("taken, and llhttp does not", outcome, llhttp)
    _same(outcome, llhttp, request)
    if outcome.reusable:
        # llhttp does not know that nothing follows an answer to HEAD.
        assert request.head or (llhttp.keep and not llhttp.fault), ("kept, and llhttp would not", outcome, llhttp)
    other = by_h11(data, request.head)
    if other.complete:
        _same(outcome, other, request)
        assert other.keep or not outcome.reusable, ("kept, and h11 would not", outcome, other)
    else:
        assert other.fault, ("taken as whole, and h11 waits for more", outcome, other)
        assert _h11_alone(other, outcome.reusable), ("taken, and h11 refuses", outcome, other)


def _h11_alone(reading: Reading, reusable: bool) -> bool:
    """Whether h11 minds what we need not."""
    if reading.status:
        return "Transfer-Encoding" in reading.fault and not reusable  # in a trailer; the connection ends with it
    # A control character in a reason phrase, which nobody reads; an empty line behind an informational answer.
    return reading.fault == "no response line received" or _STATUS_LINE.match(reading.fault) is not None


def _same(outcome: Outcome, reading: Reading, request: Asked) -> None:
    assert outcome.status == reading.status, (outcome, reading)
    body, headers = reading.body, reading.headers
    codings = b",".join(value for name, value in headers if name.lower() == b"content-encoding")
    if codings and body and not request.streamed:
        headers = [header for header in headers if header[0].lower() not in {b"content-encoding", b"content-length"}]
        try:
            body = decode(body, codings, LIMITS.max_body)
        except BadResponse as error:
            raise AssertionError("taken, and its coding is damaged") from error
    assert outcome.body == body, (outcome, reading)
    assert _plain(outcome.headers) == _plain(headers), (outcome, reading)


def _plain(headers: _Headers) -> _Headers:
    # h11 gives some values in lower case, llhttp leaves blanks behind values.
    return [(name.lower(), value.strip(b" \t").lower()) for name, value in headers]


# Corpus files


def encoded(asked: list[Asked]) -> bytes:
    """As a corpus file."""
    return NEXT.join(HEAD * one.head + STREAM * one.streamed + CUT.join(one.pieces) for one in asked)


def conversation(data: bytes) -> list[Asked]:
    """What a corpus file says; any bytes say something."""
    asked = []
    for part in data.split(NEXT):
        rest = part.lstrip(HEAD + STREAM)
        kinds = part[: len(part) - len(rest)]
        asked.append(Asked(rest.split(CUT), HEAD in kinds, STREAM in kinds))
    return asked


def check_bytes(data: bytes) -> None:
    """``check`` of a corpus file."""
    check(conversation(data))
