"""A wire over any httpx transport: HTTP/2, proxies, ``ASGITransport``, ``MockTransport``, respx."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from typing import cast

import httpx

from ..errors import BadResponse, BffError, CallTimeout, ConnectFailed, ConnectionLost, ServiceError
from .answer import MOST_STATUS
from .head import check_target
from .httpx_stream import HttpxStream, was_cancelled
from .protocol import Done, WireResponse

__all__ = ["HttpxWire"]


class HttpxWire:
    """Sends through ``transport`` to ``origin`` (``scheme://host[:port]``), speaking to ``authority`` if there is one.

    httpx loses a pool slot when a call is cancelled (encode/httpcore#1093), so no cancellation reaches it: an
    abandoned exchange runs on, unheard, until its own timeouts end it, and counts as in flight until then.
    """

    def __init__(
        self,
        origin: str,
        transport: httpx.AsyncBaseTransport,
        *,
        connect_timeout: float,
        max_body: int,
        authority: str | None = None,
    ) -> None:
        self._extensions: dict[str, object] = {}
        self._authority: list[tuple[bytes, bytes]] = []
        if authority is not None:
            self._authority.append((b"host", authority.encode()))
            self._extensions["sni_hostname"] = authority.rpartition(":")[0] or authority
        self._origin = origin
        self._transport = transport
        self._connect_timeout = connect_timeout
        self._max_body = max_body
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Exchanges not yet ended."""
        return len(self._tasks)

    def send(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        timeout: float,
        done: Done,
        *,
        repeatable: bool = True,  # noqa: ARG002 - httpx repeats nothing
        hurried: bool = False,  # noqa: ARG002 - whose fault a timeout is matters to who chooses among endpoints
    ) -> _HttpxExchange:
        """See ``Wire.send``."""
        request = self._request(method, target, _lines(headers), body, timeout)
        exchange = _HttpxExchange(done)
        task = asyncio.get_running_loop().create_task(self._run(request, timeout, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return exchange

    def stream(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        *,
        length: int | None = None,
        idle: float | None = None,
        hurried: bool = False,  # noqa: ARG002 - see send
    ) -> HttpxStream:
        """See ``Wire.stream``. One that is given up counts as in flight until the transport has let it go."""
        check_target(target)
        lines = _lines(headers)
        if length is not None and not isinstance(body, bytes):
            lines.append((b"content-length", b"%d" % length))

        def make(content: bytes | AsyncIterable[bytes]) -> httpx.Request:
            return self._request(method, target, lines, content, timeout)

        return HttpxStream(
            self._transport, self._tasks, make, body, timeout, timeout if idle is None else idle, _translate
        )

    def _request(
        self,
        method: str,
        target: str,
        lines: list[tuple[bytes, bytes]],
        content: bytes | AsyncIterable[bytes],
        timeout: float,
    ) -> httpx.Request:
        return httpx.Request(
            method,
            self._origin + target,
            headers=[*self._authority, *lines],
            content=content or None,
            extensions={
                **self._extensions,
                "timeout": {
                    "connect": min(self._connect_timeout, timeout),
                    "read": timeout,
                    "write": timeout,
                    "pool": timeout,
                },
            },
        )

    async def aclose(self) -> None:
        """Wait for what is in flight (each bounded by its timeout), then close the transport."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._transport.aclose()

    async def _run(self, request: httpx.Request, timeout: float, exchange: _HttpxExchange) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        # The timer tells the caller in time; httpx itself goes on until its own, per-operation timeouts end it.
        timer = loop.call_at(until, exchange.finish, None, CallTimeout(f"no answer within {timeout:.3f} s"))
        answer: WireResponse | None = None
        fault: ServiceError | None = None
        try:
            response = await self._transport.handle_async_request(request)
            try:
                body = await self._read(response, until)
            finally:
                await response.aclose()
            if response.status_code > MOST_STATUS:
                raise BadResponse(f"status {response.status_code} is none")
            raw = [(name.lower(), value) for name, value in response.headers.raw]
            answer = WireResponse(response.status_code, raw, body)
        except (BffError, httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            fault = _translate(error)
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            fault = ConnectionLost("cancelled within the transport")
        except Exception as error:  # noqa: BLE001 - a foreign transport may raise anything; the caller must be told
            fault = ConnectionLost(type(error).__name__)
        finally:
            timer.cancel()
        # Whoever is told may send the next one in its place.
        self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        exchange.finish(answer, fault)

    async def _read(self, response: httpx.Response, until: float) -> bytes:
        clock = asyncio.get_running_loop().time
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > self._max_body:
                raise BadResponse(f"the body is larger than {self._max_body} bytes")
            if clock() > until:
                raise CallTimeout("the body did not end in time")
        return bytes(body)


class _HttpxExchange:
    __slots__ = ("_done",)

    def __init__(self, done: Done) -> None:
        self._done: Done | None = done

    def abandon(self) -> None:
        self._done = None

    def finish(self, response: WireResponse | None, error: ServiceError | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(response, error)


def _lines(headers: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, _, value in (line.partition(b": ") for line in headers.split(b"\r\n") if line)]


def _translate(error: BaseException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    detail = type(error).__name__
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol)):
        return ConnectFailed(detail)
    if isinstance(error, httpx.TimeoutException):
        return CallTimeout(detail)
    if isinstance(error, (httpx.DecodingError, httpx.InvalidURL)):
        return BadResponse(detail)
    return ConnectionLost(detail)
