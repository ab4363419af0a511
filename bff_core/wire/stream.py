"""Exchanges whose bodies pass through: bounded buffers, back-pressure both ways."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..errors import ConnectionLost, ServiceError
from .exchange import Pending
from .protocol import WireResponse

if TYPE_CHECKING:
    from .pool import Pool

__all__ = ["Stream"]

_FULL = 256 * 1024
_LOW = 64 * 1024
_SMALL = 16 * 1024
_NEVER = float("inf")


class Stream(Pending):
    """``async with`` it, then read ``status`` and ``headers`` (names in lower case) and iterate over the body, once.

    Raises ``ServiceError``, or what the request body's own iterator raised. Safe to cancel anywhere. Leaving the
    ``async with`` before the answer's end closes the connection.
    """

    __slots__ = (
        "_asked", "_body", "_buffered", "_cause", "_error", "_idle", "_length", "_pieces", "_pump", "_timeout",
        "_waiter", "headers", "status", "waited",
    )  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        payload: bytes,
        repeatable: bool,
        head_only: bool,
        timeout: float,
        idle: float | None,
        body: AsyncIterable[bytes] | None,
        length: int | None,
    ) -> None:
        super().__init__(pool, payload, repeatable, head_only)
        self.sink = self
        self.sending = body is not None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.waited = 0.0
        self._asked = 0.0
        self._timeout = timeout
        self._idle = timeout if idle is None else idle
        self._body = body
        self._length = length
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._error: ServiceError | None = None
        self._cause: Exception | None = None
        self._pump: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._asked = time.monotonic()
        self.pool.submit(self, self._timeout)
        failed: BaseException | None = None
        try:
            while not self.status:
                self._check()
                await self._wait()
        except BaseException as error:  # noqa: BLE001 - raised below: compiled code must not wait in a handler
            failed = error
        if failed is not None:
            await self.aclose()
            raise failed
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self.read():
            return piece
        raise StopAsyncIteration

    @property
    def complete(self) -> bool:
        """See ``Streamed.complete``."""
        return self.ended and not self._pieces and self._error is None and self._cause is None

    def rest(self) -> bytes | None:
        """See ``Streamed.rest``."""
        if not self.ended or self._error is not None or self._cause is not None:
            return None
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        return content

    async def read(self) -> bytes:
        """See ``Streamed.read``."""
        pieces = self._pieces
        while not pieces:
            self._check()
            if self.ended:
                return b""
            await self._wait()
        piece = pieces.popleft()
        if pieces and len(piece) < _SMALL:
            piece = b"".join((piece, *pieces))
            pieces.clear()
        before = self._buffered
        self._buffered -= len(piece)
        if self._buffered <= _LOW < before and self.connection is not None:
            self.connection.resume()
            self.connection.until(time.monotonic() + self._idle)
        return piece

    async def aclose(self) -> None:
        """Give up what has not ended."""
        self.abandon()
        self.sink = None  # itself: only the collector would find it
        self._pieces.clear()
        pump, self._pump = self._pump, None
        if pump is not None and not pump.done():
            pump.cancel()
            await asyncio.wait({pump})

    # The connection calls these

    def begun(self) -> None:
        """The head of the request is on its way; the body follows."""
        if self._body is not None:
            self._pump = asyncio.get_running_loop().create_task(self._send_body(self._body))

    def answered(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """See ``Sink.answered``."""
        self.status = status
        self.headers = headers
        now = time.monotonic()
        # An answer to a request that is still being sent has not been waited for.
        self.waited = 0.0 if self.sending else now - self._asked
        if self.connection is not None:
            self.connection.until(now + self._idle)
        self._wake()

    def take(self, piece: bytes) -> None:
        """See ``Sink.take``."""
        self._pieces.append(piece)
        self._buffered += len(piece)
        if self.connection is not None:
            if self._buffered > _FULL:
                # As long as the reader is the slow one, no time runs against the service.
                self.connection.pause()
                self.connection.until(_NEVER)
            else:
                self.connection.until(time.monotonic() + self._idle)
        self._wake()

    def end(self, response: WireResponse | None, error: ServiceError | None) -> None:  # noqa: ARG002 - it came piecemeal
        """See ``Pending.end``."""
        self.ended = True
        self.pool.in_flight -= 1
        self._error = error
        self._wake()

    # Within

    async def _send_body(self, body: AsyncIterable[bytes]) -> None:
        left = self._length
        try:
            self._service_has(_NEVER)
            async for piece in body:
                connection = self.connection
                if connection is None or not connection.usable():
                    return
                if not piece:
                    continue
                if left is None:
                    piece = b"%x\r\n%b\r\n" % (len(piece), piece)  # noqa: PLW2901 - framed
                else:
                    left -= len(piece)
                    if left < 0:
                        raise ValueError("the body is longer than its length")
                connection.write(piece)
                if connection.room is not None:
                    self._service_has(self._timeout)
                    await connection.room
                    self._service_has(_NEVER)
            if left:
                raise ValueError("the body is shorter than its length")
            connection = self.connection
            if connection is None or not connection.usable():
                return
            if left is None:
                connection.write(b"0\r\n\r\n")
            self.sending = False
            self._asked = time.monotonic()
            self._service_has(self._timeout)
        except Exception as error:  # noqa: BLE001 - the caller's own iterator: raised where the caller waits
            self._cause = error
            self.fail(ConnectionLost("the request body could not be sent"))

    def _service_has(self, seconds: float) -> None:
        """So long it may take; none of it runs while the giver of the request's body is the slow one."""
        if self.connection is not None and not self.status:
            self.connection.until(time.monotonic() + seconds)

    def _check(self) -> None:
        if self._cause is not None:
            raise self._cause
        if self._error is not None:
            raise self._error

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
