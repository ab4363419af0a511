"""The wire as an httpx transport: ``httpx.AsyncClient(transport=Http1Transport())``."""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator

import httpx

from ..errors import BadResponse, CallTimeout, ConnectFailed, ServiceError
from .head import Origin
from .http1 import Http1Wire
from .stream import Stream

__all__ = ["Http1Transport"]

_NO_LIMIT = 86_400.0
_DROPPED = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection", b"upgrade",
})  # fmt: skip


class Http1Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 to any origin, one ``Http1Wire`` for each of at most ``max_origins`` in use.

    Bodies are streamed both ways. Of httpx's timeouts ``read`` bounds the wait for the head and for each further part
    of the body; ``connect_timeout`` bounds connecting. Unlike httpx's own transport it may be cancelled anywhere.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        max_connections: int = 100,
        max_origins: int = 64,
        idle: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._max_connections = max_connections
        self._max_origins = max_origins
        self._idle = idle
        self._context = ssl_context
        self._wires: OrderedDict[str, Http1Wire] = OrderedDict()
        self._retiring: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request``; the answer's body is read from the connection as it is iterated over."""
        try:
            stream = self._stream(request)
        except ValueError as error:
            raise httpx.LocalProtocolError(str(error), request=request) from None
        try:
            await stream.__aenter__()
        except ServiceError as error:
            raise _translate(error, request) from error
        return httpx.Response(
            stream.status,
            headers=stream.headers,
            stream=_Body(stream, request),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Close every connection to every origin."""
        wires = list(self._wires.values())
        self._wires.clear()
        for wire in wires:
            await wire.aclose()
        if self._retiring:
            await asyncio.wait(self._retiring)

    def _stream(self, request: httpx.Request) -> Stream:
        url = request.url
        wire = self._wire(f"{url.scheme}://{url.netloc.decode('ascii')}", request)
        lines: list[bytes] = []
        length: int | None = None
        host: bytes | None = None
        for name, value in request.headers.raw:
            lower = name.lower()
            if lower == b"host":
                host = value
            elif lower == b"content-length":
                length = int(value)
            if lower not in _DROPPED:
                lines.append(b"%b: %b\r\n" % (name, value))
        try:
            body = request.content
        except httpx.RequestNotRead:
            content = request.stream
            if not isinstance(content, httpx.AsyncByteStream):
                raise ValueError("the request's body cannot be read asynchronously") from None
            return wire.stream(
                request.method, url.raw_path.decode("ascii"), b"".join(lines), content, _timeout(request),
                length=length, host=host,
            )  # fmt: skip
        return wire.stream(
            request.method, url.raw_path.decode("ascii"), b"".join(lines), body, _timeout(request), host=host
        )

    def _wire(self, name: str, request: httpx.Request) -> Http1Wire:
        wire = self._wires.get(name)
        if wire is None:
            Origin(name)
            self._make_room(request)
            wire = self._wires[name] = Http1Wire(
                name,
                connect_timeout=self._connect_timeout,
                max_body=0,  # of buffered answers, of which there are none
                max_connections=self._max_connections,
                idle=self._idle,
                ssl_context=self._context,
            )
        else:
            self._wires.move_to_end(name)
        return wire

    def _make_room(self, request: httpx.Request) -> None:
        if len(self._wires) < self._max_origins:
            return
        for name, wire in self._wires.items():
            if wire.in_flight == 0:
                del self._wires[name]
                task = asyncio.get_running_loop().create_task(wire.aclose())
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)
                return
        raise httpx.PoolTimeout("too many origins in use at once", request=request)


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Stream, request: httpx.Request) -> None:
        self._stream = stream
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                yield piece
        except ServiceError as error:
            raise _translate(error, self._request) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _timeout(request: httpx.Request) -> float:
    timeouts = request.extensions.get("timeout")
    read = timeouts.get("read") if isinstance(timeouts, dict) else None
    return float(read) if isinstance(read, (int, float)) else _NO_LIMIT


def _translate(error: ServiceError, request: httpx.Request) -> httpx.TransportError:
    detail = str(error)
    if isinstance(error, ConnectFailed):
        return httpx.ConnectError(detail, request=request)
    if isinstance(error, CallTimeout):
        return httpx.ReadTimeout(detail, request=request)
    if isinstance(error, BadResponse):
        return httpx.RemoteProtocolError(detail, request=request)
    return httpx.ReadError(detail, request=request)
