"""One request and the answer to it, as the application has it (ASGI HTTP specification 2.3)."""

from __future__ import annotations

import asyncio
import http
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from starlette.types import Message

from ..errors import PROBLEM_JSON, Problem
from ..hardening import Header, Reply

if TYPE_CHECKING:
    from .connection import Http1Protocol

__all__ = ["STATUS_LINES", "Exchange", "whole_problem"]

HIGH_WATER = 64 * 1024
"""How many bytes of a body wait for the application before no more are read."""

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODILESS = frozenset({204, 304})
_FINAL = 200


def _status_line(status: int) -> bytes:
    phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINES = [_status_line(status) for status in range(600)]


def whole_problem(problem: Problem) -> Reply:
    """The answer that says so, before or behind the application."""
    body = problem.body()
    headers = (
        (b"content-type", PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )
    return problem.status, headers, body


class Exchange:
    """Read and answered on ``connection``, which goes on after it when ``keep_alive``. ``left`` is true once the client
    has gone, ``when_left`` is called then if the answer is not complete; ``whole`` once the request has been read."""

    __slots__ = (
        "_body", "_chunked", "_event", "_expects_continue", "_length", "_news", "complete", "connection", "head_only",
        "http_1_0", "keep_alive", "left", "started", "when_left", "whole",
    )  # fmt: skip

    def __init__(
        self,
        connection: Http1Protocol,
        *,
        head_only: bool,
        keep_alive: bool,
        http_1_0: bool,
        expects_continue: bool = False,
    ) -> None:
        self.connection = connection
        self.head_only = head_only
        self.keep_alive = keep_alive
        self.http_1_0 = http_1_0
        self.left = False
        self.when_left: Callable[[], None] | None = None
        self.whole = False
        self.started = False
        self.complete = False
        self._expects_continue = expects_continue
        self._body: bytearray | None = None
        self._news = False
        self._event: asyncio.Event | None = None
        self._chunked = False
        self._length = -1

    # What the connection tells

    def take(self, piece: bytes) -> None:
        """A piece of the request's body."""
        if self.complete:
            return
        if self._body is None:
            self._body = bytearray()
        self._body += piece
        if len(self._body) > HIGH_WATER:
            self.connection.pause()
        self.tell()

    def end(self) -> None:
        """The request is whole."""
        self.whole = True
        self.tell()

    def leave(self) -> None:
        """The connection has ended."""
        if self.left:
            return
        self.left = True
        self.tell()
        if self.when_left is not None and not self.complete:
            self.when_left()

    def tell(self) -> None:
        """Whoever waits in ``receive`` has something to hear."""
        self._news = True
        if self._event is not None:
            self._event.set()

    # What the application asks

    async def receive(self) -> Message:
        """The next piece of the body, its end, or that the client has left or has its answer."""
        if self._expects_continue:
            self._expects_continue = False
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.left and not self.complete:
            self.connection.resume()
            if not self._news:
                if self._event is None:
                    self._event = asyncio.Event()
                self._event.clear()
                await self._event.wait()
            self._news = False
        if self.left or self.complete:
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": bytes(body) if body else b"", "more_body": not self.whole}

    async def send(self, message: Message) -> None:
        """Write a part of the answer. Raises ``RuntimeError`` for what is no answer in HTTP."""
        while self.connection.room is not None:
            await self.connection.room.wait()
        if self.left:
            return
        kind = message["type"]
        if self.complete:
            raise RuntimeError(f"{kind} after the answer is complete")
        if self.started:
            if kind != "http.response.body":
                raise RuntimeError(f"{kind} where http.response.body was due")
            # ASGI has bytes; Starlette sends what is like them as well.
            self._write_body(bytes(message.get("body", b"")), more=message.get("more_body", False))
        elif kind == "http.response.start":
            self._write_head(message["status"], message.get("headers", ()))
        elif kind == "http.response.early_hint":
            self._write_hint(message["links"])
        else:
            raise RuntimeError(f"{kind} where http.response.start was due")

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> bool:
        """Write a whole answer at once, with headers known to be well formed and complete; false, and nothing is done,
        when it has to go the usual way."""
        if self.left:
            return True
        if self.started or self.connection.room is not None:
            return False
        self.started = self.complete = True
        self._stop_expecting()
        lines = [b"%b: %b\r\n" % header for header in headers]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        connection = self.connection
        connection.write(
            b"%b%b%b\r\n%b"
            % (STATUS_LINES[status], connection.default_lines(), b"".join(lines), b"" if self.head_only else body)
        )
        self._finish()
        return True

    async def answer_in_time(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """The same, when the client has taken enough of what was written before."""
        while not self.answer(status, headers, body):
            if self.connection.room is None:
                return
            await self.connection.room.wait()

    # Within

    def _write_head(self, status: int, headers: Iterable[Any]) -> None:
        if not _FINAL <= status < len(STATUS_LINES):
            raise RuntimeError(f"{status} is no status of an answer")
        self._stop_expecting()
        lines, length, chunked, closes = _read_headers(headers)
        chunked = chunked and status not in _BODILESS
        if length < 0 and not chunked and not self.head_only and status not in _BODILESS:
            if self.http_1_0:
                self.keep_alive = False  # its end is the connection's
            else:
                chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self.started = True
        self._chunked = chunked
        self._length = 0 if status in _BODILESS else length if not chunked else -1
        self.connection.write(b"%b%b%b" % (STATUS_LINES[status], self.connection.default_lines(), b"".join(lines)))

    def _write_hint(self, links: Iterable[bytes]) -> None:
        if self.http_1_0:
            return
        lines = [b"link: %b\r\n" % link for link in links if not _CONTROL.search(link)]
        if lines:
            self.connection.write(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(lines))

    def _write_body(self, body: bytes, *, more: bool) -> None:
        if self.head_only:
            pass
        elif self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                piece += b"0\r\n\r\n"
            if piece:
                self.connection.write(piece)
        elif body or not more:
            if self._length >= 0:
                self._length -= len(body)
                if self._length < 0:
                    raise RuntimeError("the answer's body is longer than its Content-Length")
                if self._length and not more:
                    raise RuntimeError("the answer's body is shorter than its Content-Length")
            if body:
                self.connection.write(body)
        if not more:
            self.complete = True
            self._finish()

    def _stop_expecting(self) -> None:
        """Whoever waits to be told to go on may send the body all the same, or the next request: who knows."""
        if self._expects_continue and not self.whole:
            self.keep_alive = False
        self._expects_continue = False

    def _finish(self) -> None:
        self._body = None
        if self._event is not None:
            self.tell()
        self.connection.answered(self)

    def ended(self, task: asyncio.Task[Any]) -> None:
        """The application has returned or raised."""
        self.connection.forget(task, self, None if task.cancelled() else task.exception())


def _read_headers(headers: Iterable[Any]) -> tuple[list[bytes], int, bool, bool]:
    """The lines of an application's headers, and what they say: its body's length (-1 for nothing), whether it is in
    chunks, and whether the connection ends behind it. Raises ``RuntimeError`` for what is no header."""
    lines: list[bytes] = []
    length, chunked, closes = -1, False, False
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise RuntimeError("the name of a header is none")
        if _CONTROL.search(value):
            raise RuntimeError("the value of a header holds control characters")
        lines.append(b"%b: %b\r\n" % (name, value))
        lower = name.lower()
        if lower == b"content-length":
            if length >= 0 or not value.isdigit():
                raise RuntimeError("the answer's Content-Length is none, or not the only one")
            length = int(value)
        elif lower == b"transfer-encoding":
            chunked = value.lower() == b"chunked"
        elif lower == b"connection" and b"close" in [token.strip() for token in value.lower().split(b",")]:
            closes = True
    return lines, length, chunked, closes
