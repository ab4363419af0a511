"""Streams over any httpx transport."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Self

import httpx

from ..errors import BadResponse, CallTimeout, ConnectionLost, ServiceError
from .answer import MOST_STATUS

__all__ = ["HttpxStream", "was_cancelled"]

_FULL = 256 * 1024

Make = Callable[[bytes | AsyncIterable[bytes]], httpx.Request]


class HttpxStream:
    """See ``Streamed``. The transport works in a task that is never cancelled (see ``HttpxWire``): one that is given
    up ends with the next piece of either body, or with the transport's own timeouts."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        tasks: set[asyncio.Task[None]],
        make: Make,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        idle: float,
        translate: Callable[[BaseException], ServiceError],
    ) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.waited = 0.0
        self._transport = transport
        self._tasks = tasks
        self._body = None if isinstance(body, bytes) else body
        self._timeout = timeout
        self._idle = idle
        self._translate = translate
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._request = make(self._given() if self._body is not None else body)
        self._pump: asyncio.Task[None] | None = None
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._room: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked = 0.0
        self._error: Exception | None = None
        self._ended = self._left = False

    @property
    def complete(self) -> bool:
        """See ``Streamed.complete``."""
        return self._ended and not self._pieces and self._error is None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        if self._body is None:
            self._sent()
        else:
            self._pump = loop.create_task(self._give(self._body))
        task = loop.create_task(self._run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while not self.status:
                if self._error is not None:
                    raise self._error
                await self._wait()
        except BaseException:
            await self.aclose()
            raise
        return self

    def rest(self) -> bytes | None:
        """See ``Streamed.rest``: whatever a transport gives for headers, nobody has looked at it."""
        return None

    async def read(self) -> bytes:
        """See ``Streamed.read``."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._wait()
        piece = self._pieces.popleft()
        self._buffered -= len(piece)
        if self._buffered <= _FULL:
            _settle(self._room)
        return piece

    async def aclose(self) -> None:
        """See ``Streamed.aclose``."""
        self._left = True
        self._pieces.clear()
        if self._timer is not None:
            self._timer.cancel()
        _settle(self._room)
        pump, self._pump = self._pump, None
        if pump is not None and not pump.done():
            pump.cancel()
            await asyncio.wait({pump})
        if self._queue.empty():
            self._queue.put_nowait(None)

    # The request's body

    async def _give(self, body: AsyncIterable[bytes]) -> None:
        try:
            async for piece in body:
                if piece:
                    await self._queue.put(piece)
            await self._queue.put(None)
        except Exception as error:  # noqa: BLE001 - the caller's own iterator: raised where the caller waits
            self._fail(error)

    async def _given(self) -> AsyncIterator[bytes]:
        while True:
            piece = await self._queue.get()
            if self._left:
                raise ConnectionLost("given up")
            if piece is None:
                break
            yield piece
        self._sent()

    def _sent(self) -> None:
        self._asked = time.monotonic()
        if not self.status:
            self._timer = asyncio.get_running_loop().call_later(self._timeout, self._fail, CallTimeout("no answer"))

    # The answer

    async def _run(self) -> None:
        try:
            response = await self._transport.handle_async_request(self._request)
            try:
                self._answered(response)
                await self._take(response)
            finally:
                await response.aclose()
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            self._fail(ConnectionLost("cancelled within the transport"))
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything; the caller must be told
            self._fail(self._translate(error))
        finally:
            self._ended = True
            _settle(self._waiter)

    def _answered(self, response: httpx.Response) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if response.status_code > MOST_STATUS:
            raise BadResponse(f"status {response.status_code} is none")
        self.headers = [(name.lower(), value) for name, value in response.headers.raw]
        self.status = response.status_code
        self.waited = time.monotonic() - self._asked if self._asked else 0.0
        # httpcore looks again at what it was given when it turns to the body.
        timeouts = self._request.extensions.get("timeout")
        if isinstance(timeouts, dict):
            timeouts["read"] = self._idle
        _settle(self._waiter)

    async def _take(self, response: httpx.Response) -> None:
        if not isinstance(response.stream, httpx.AsyncByteStream):
            raise BadResponse("the transport's body cannot be read asynchronously")
        pieces = aiter(response.stream)  # as sent: Response.aiter_raw would refuse the body of a mocked answer
        try:
            async for piece in pieces:
                if self._left:
                    return
                if piece:
                    self._pieces.append(piece)
                    self._buffered += len(piece)
                    _settle(self._waiter)
                while self._buffered > _FULL and not self._left:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        finally:
            if (close := getattr(pieces, "aclose", None)) is not None:
                await close()

    def _fail(self, error: Exception) -> None:
        if self._error is None and not self._ended:
            self._error = error
            self._left = True
            _settle(self._waiter)
            _settle(self._room)
            if self._queue.empty():
                self._queue.put_nowait(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def was_cancelled() -> bool:
    """Whether the current task was cancelled, as opposed to something that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _settle(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
