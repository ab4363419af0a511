"""Requests as llhttp reads them: any length of body, any framing, piece by piece."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import httptools

from .head import Headers

__all__ = ["Head", "Listener", "RequestReader"]

_ABSOLUTE = re.compile(rb"https?://[^/?@]++(?:[/?].*+)?", re.IGNORECASE)


@dataclass(slots=True)
class Head:
    """Of a request. ``target`` is as it was sent, ``path`` and ``query`` are what it says, percent-encoded; ``upgrade``
    means that llhttp reads nothing behind it."""

    method: str
    target: bytes
    path: bytes
    query: bytes
    version: str
    headers: Headers
    keep_alive: bool
    upgrade: bool
    expects_continue: bool


class Listener(Protocol):
    """Who is told."""

    def begun(self, head: Head) -> None:
        """A request's head is whole."""

    def body(self, piece: bytes) -> None:
        """A piece of its content."""

    def whole(self, *, keep_alive: bool) -> None:
        """It is whole; ``keep_alive`` may have changed, by a trailer."""


class RequestReader:
    """``receiving`` is whether a request has begun and is not whole, ``in_head`` whether its head is not either;
    ``size`` counts the bytes of the head, or of what is no content since the last piece of that; ``ended`` says that
    the last feed has made a request whole."""

    __slots__ = (
        "_before", "_begun", "_body_came", "_expects_continue", "_headers", "_listener", "_parser", "_target", "ended",
        "in_head", "receiving", "size",
    )  # fmt: skip

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._parser = httptools.HttpRequestParser(self)
        # What comes behind a last request is not looked at; it is no reason to refuse that one.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._target = b""
        self._headers: Headers = []
        self._expects_continue = False
        self._body_came = self._begun = self._before = False
        self.receiving = self.in_head = self.ended = False
        self.size = 0

    def feed(self, data: bytes) -> None:
        """Read on. Raises ``httptools.HttpParserUpgrade`` behind the head of a request for another protocol, and
        ``httptools.HttpParserError`` for what is not HTTP/1.1."""
        self._body_came = self.ended = self._begun = False
        self._parser.feed_data(data)
        if self.receiving and not self._body_came and not (self._begun and self._before):
            # Of the head, or of what else is no content: trailers, extensions of chunks.
            self.size += len(data)

    # llhttp calls these

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target = b""
        self._headers = []
        self._expects_continue = False
        # What a segment holds before it is not its own.
        self._before = self.ended
        self._begun = True
        self.in_head = self.receiving = True
        self.size = 0

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header. Trailers are none (RFC 9110 section 6.5.1): who reads one of those is told what the proxies before
        us have seen and perhaps taken away, and nothing else."""
        if not self.in_head:
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Its head is whole. A target must be in one of its forms (RFC 9112 section 3.2), not one with more to it."""
        self.in_head = False
        parser = self._parser
        target: Any = httptools.parse_url(self._target)  # any part of it may be None, which its stubs do not say
        if b"#" in self._target:
            raise httptools.HttpParserError("a request target has no fragment")
        if not self._target.startswith(b"/"):
            if self._target != b"*" and _ABSOLUTE.fullmatch(self._target) is None:
                raise httptools.HttpParserError("an absolute target is of http or https, without userinfo")
            self._read_authority(target.host, target.port)
        version, upgrade = parser.get_http_version(), parser.should_upgrade()
        self._listener.begun(
            Head(
                parser.get_method().decode("ascii"),
                self._target,
                target.path or b"/" if target.host else target.path,
                target.query or b"",
                version,
                self._headers,
                not upgrade and version != "1.0" and parser.should_keep_alive(),
                upgrade,
                self._expects_continue,
            )
        )

    def on_body(self, piece: bytes) -> None:
        """A piece of its content."""
        self._body_came = True
        self.size = 0
        self._listener.body(piece)

    def on_message_complete(self) -> None:
        """It is whole."""
        self.receiving = False
        self.ended = True
        self._listener.whole(keep_alive=self._parser.should_keep_alive())

    def _read_authority(self, host: bytes | None, port: int | None) -> None:
        """That of an absolute request target stands above ``Host`` (RFC 9112 section 3.2.2)."""
        # None, or two, are refused later.
        if host and sum(name == b"host" for name, _ in self._headers) == 1:
            authority = (b"[%b]" % host if b":" in host else host) + (b":%d" % port if port else b"")
            self._headers = [header for header in self._headers if header[0] != b"host"]
            self._headers.append((b"host", authority))
