"""A request's body with caps on size, time, type and, for JSON, shape; for every route, pages or not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ..errors import Problem
from .nesting import is_utf8, json_fault

__all__ = ["BodyCaps", "BodyRefused", "LimitedBody"]

_MEDIA_TYPE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*(;.*)?")
_CHARSET = re.compile(rb";[ \t]*charset=\"?([^\";, \t]*)", re.IGNORECASE)
NOT_UTF8 = "JSON is UTF-8."
_CLOSE = {"connection": "close"}


@dataclass(frozen=True, slots=True)
class BodyCaps:
    """Sizes in bytes, times in seconds."""

    max_body: int
    timeout: float
    max_json_depth: int
    max_json_members: int


class BodyRefused(Problem, HTTPException):  # type: ignore[misc]  # both mean the same by headers and detail
    """A problem that FastAPI, too, lets pass where it reads a body: other exceptions are a 400 to it."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        Problem.__init__(self, status, detail, headers=headers)
        self.status_code = status


class LimitedBody:
    """The ``receive`` of a request that has a body. Nothing is checked before somebody reads it, so that who may not
    come in is told that first.

    ``before``, if it is set, is awaited before anything is read, and may raise what it likes.

    Raises ``BodyRefused``: 408 when it is not all there
    in time, 413 when it is too large, 415 when its type is missing or it is encoded, 400 when it is JSON that is
    nested too deep or has too many members. A JSON body is handed out whole.
    """

    __slots__ = ("_caps", "_due", "_headers", "_json", "_receive", "_size", "_whole", "before")

    def __init__(self, receive: Receive, caps: BodyCaps, headers: Mapping[bytes, bytes]) -> None:
        self._receive = receive
        self._caps = caps
        self._headers = headers
        self._due: float | None = None
        self.before: Callable[[], Awaitable[None]] | None = None
        self._size = 0
        self._json = self._whole = False

    @property
    def unlimited(self) -> Receive:
        """The body as it comes, for who has caps of its own."""
        return self._receive

    async def __call__(self) -> Message:
        """The next message, in time and within the cap."""
        if self._whole:
            return await self._receive()
        if self._due is None:
            if self.before is not None:
                await self.before()
            self._begin()
        message = await self._next()
        if not self._json or message["type"] != "http.request":
            return message
        parts = [message.get("body", b"")]
        while message.get("more_body"):
            message = await self._next()
            if message["type"] != "http.request":
                return message
            parts.append(message.get("body", b""))
        body = b"".join(parts) if len(parts) > 1 else parts[0]
        if not is_utf8(body):
            raise BodyRefused(415, NOT_UTF8)
        fault = json_fault(body, self._caps.max_json_depth, self._caps.max_json_members)
        if fault is not None:
            raise BodyRefused(400, f"The body {fault}.")
        return {"type": "http.request", "body": body, "more_body": False}

    def _begin(self) -> None:
        headers = self._headers
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._caps.max_body:
            raise self._too_large()
        found = _MEDIA_TYPE.fullmatch(headers.get(b"content-type", b""))
        if found is None:
            raise BodyRefused(415, "A body needs a Content-Type that says what it is.")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise BodyRefused(415, "An encoded body is not taken.", headers={"accept-encoding": "identity"})
        kind = found[1].lower()
        self._json = kind == b"application/json" or kind.endswith(b"+json")
        charset = _CHARSET.search(found[2] or b"") if self._json else None
        if charset is not None and charset[1].lower() not in (b"utf-8", b"utf8"):
            raise BodyRefused(415, NOT_UTF8)
        self._due = asyncio.get_running_loop().time() + self._caps.timeout

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout_at(self._due):
                message = await self._receive()
        except TimeoutError:
            raise BodyRefused(
                408, f"The body did not arrive within {self._caps.timeout:g} seconds.", headers=_CLOSE
            ) from None
        self._size += len(message.get("body", b""))
        if self._size > self._caps.max_body:
            raise self._too_large()
        self._whole = not message.get("more_body")
        return message

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, f"The body is larger than {self._caps.max_body} bytes.", headers=_CLOSE)
