"""One answer as it arrives: llhttp's events, checked against the limits, gathered or handed on piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from httptools import HttpResponseParser

from ..errors import BadResponse
from .decode import decode
from .protocol import WireResponse

__all__ = ["Answer", "Limits", "Sink", "StopParsing"]

_MOST_INFORMATIONAL = 16
_CONTINUE, _SWITCHING, _EARLY_HINTS, _FINAL, _NOT_MODIFIED = 100, 101, 103, 200, 304
MOST_STATUS = 599  # RFC 9110 section 15: beyond that there is no class
_SPECIAL = frozenset({b"content-length", b"transfer-encoding", b"connection", b"content-encoding"})
_HEEDED = frozenset({*_SPECIAL, b"proxy-connection", b"upgrade"})
_CODED = frozenset({b"content-encoding", b"content-length"})


class Limits:
    """What an answer may be at most."""

    __slots__ = ("max_body", "max_head", "max_headers")

    def __init__(self, max_body: int, max_head: int, max_headers: int) -> None:
        self.max_body = max_body
        self.max_head = max_head
        self.max_headers = max_headers


class Sink(Protocol):
    """Takes an answer piece by piece, as it arrives; no method may raise."""

    def begun(self) -> None:
        """The request's head is written."""

    def answered(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head is there."""

    def take(self, piece: bytes) -> None:
        """A piece of the body, as sent (content codings are not undone)."""


class StopParsing(Exception):
    """Ends the parser's run: the answer is complete and more follows, or ``fault`` says what is wrong with it."""


class Answer:
    """Fed by the parser. ``reset`` makes it ready for the next answer of the same connection."""

    __slots__ = (
        "_body", "_codings", "_limits", "_parser", "_said_close", "_size", "_trailers", "chunked", "complete", "fault",
        "feed", "head_bytes", "head_only", "headers", "in_body", "informational", "keep", "length", "sink", "status",
    )  # fmt: skip

    __deletable__ = ("_parser", "feed")  # for mypyc

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.sink: Sink | None = None
        self.head_only = False
        self.reset()
        self.renew()

    def renew(self) -> None:
        """A parser that knows nothing of what came before."""
        self._parser = HttpResponseParser(self)
        self.feed: Callable[[bytes], None] = self._parser.feed_data

    def reset(self) -> None:
        """Nothing of an answer has come yet."""
        self.head_bytes = 0
        self.informational = 0
        self.status = 0
        self.in_body = False
        self.complete = False
        self.keep = False
        self.fault: BadResponse | None = None
        self._body: bytes | bytearray = b""
        self._size = 0
        self._trailers = 0
        self._begin()

    def _begin(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunked = False
        self.length = -1
        self._said_close = False
        self._codings = b""

    @property
    def ends_with_connection(self) -> bool:
        """Whether it is the kind of answer that only the connection's end completes, and its head is there."""
        return self.in_body and not self.chunked and self.length < 0

    def progress(self) -> int:
        """How many bytes of the body have come."""
        return self._size

    def response(self) -> WireResponse:
        """The complete answer, decoded; raises ``BadResponse`` when its content coding is damaged or too much."""
        body = self._body if type(self._body) is bytes else bytes(self._body)
        if not self._codings or not body:
            return WireResponse(self.status, self.headers, body)
        body = decode(body, self._codings, self._limits.max_body)
        return WireResponse(self.status, [header for header in self.headers if header[0] not in _CODED], body)

    # httptools calls these

    def on_message_begin(self) -> None:
        """An answer begins; a further one after a complete one is nothing we asked for."""
        if self.complete:
            raise StopParsing

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or, once the body has begun, a trailer."""
        name = name.lower()
        if self.in_body:
            self._trailer(name)
            return
        self.headers.append((name, value.rstrip(b" \t")))  # llhttp leaves what stands behind
        if name in _SPECIAL:
            self._special(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: what can be refused by it is refused now."""
        status = self.status = self._parser.get_status_code()
        if status < _FINAL:
            if status < _CONTINUE or status == _SWITCHING:
                self._refuse(f"status {status} was not asked for")
            if status > _EARLY_HINTS and (self.chunked or self.length > 0):
                # There is none (RFC 9110 15.2), but llhttp would read one, except after those it knows.
                self._refuse("an informational answer with a body")
            self.informational += 1
            if self.informational > _MOST_INFORMATIONAL:
                self._refuse("too many informational answers")
            return
        if status > MOST_STATUS:
            self._refuse(f"status {status} is none")
        limits, headers = self._limits, self.headers
        if len(headers) > limits.max_headers:
            self._refuse(f"more than {limits.max_headers} headers")
        if self.head_bytes > limits.max_head and sum(len(n) + len(v) + 4 for n, v in headers) > limits.max_head:
            self._refuse(f"the head is larger than {limits.max_head} bytes")
        self.keep = self._parser.should_keep_alive() and not self._said_close
        if self._parser.get_http_version() not in {"1.1", "1.0"}:
            self._refuse("not HTTP/1.1")
        self.in_body = True
        if self.head_only:
            # For the parser a body follows, for us the answer is complete.
            self.keep = not self._said_close and self._parser.get_http_version() == "1.1"
            self.complete = True
        elif self.length > limits.max_body and self.sink is None and status != _NOT_MODIFIED:
            self._refuse(f"a body of {self.length} bytes is announced, at most {limits.max_body} are taken")
        if self.sink is not None:
            self.sink.answered(status, headers)

    def on_body(self, piece: bytes) -> None:
        """Part of the body."""
        if self.complete:
            raise StopParsing
        size = self._size = self._size + len(piece)
        if self.sink is not None:
            self.sink.take(piece)
        elif size > self._limits.max_body:
            self._refuse(f"the body is larger than {self._limits.max_body} bytes")
        elif not self._body:
            self._body = piece
        elif type(self._body) is bytearray:
            self._body += piece
        else:
            self._body = bytearray(self._body)
            self._body += piece

    def on_message_complete(self) -> None:
        """The answer is complete, unless it was an informational one."""
        if self.status < _FINAL:
            self._begin()
        elif self.complete and self.chunked:
            raise StopParsing  # the end of a body that an answer to HEAD does not have
        else:
            self.complete = True

    # Within

    def _special(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.length = int(value)
        elif name == b"connection":
            self._said_close = self._said_close or b"close" in value.lower()
        elif name == b"content-encoding":
            self._codings = self._codings + b"," + value if self._codings else value
        elif self.chunked or value.strip().lower() != b"chunked":
            self._refuse("a transfer coding other than chunked")
        elif self._parser.get_http_version() != "1.1":
            self._refuse("chunked in an answer that is not HTTP/1.1")  # RFC 9112 6.1: faulty framing
        else:
            self.chunked = True

    def _trailer(self, name: bytes) -> None:
        if self.complete:
            raise StopParsing
        if name in _HEEDED:
            self.keep = False  # llhttp heeds them, which is wrong, and may now be in any state
        self._trailers += 1
        if self._trailers > self._limits.max_headers:
            self._refuse(f"more than {self._limits.max_headers} trailers")

    def _refuse(self, detail: str) -> NoReturn:
        self.fault = BadResponse(detail)
        raise StopParsing
