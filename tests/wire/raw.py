"""A server of which every byte is scripted, and small helpers around the wire under test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from bff_core.errors import ServiceError
from bff_core.wire import Http1Wire, WireResponse
from bff_core.wire.exchange import Buffered

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection from the server's side; ``number`` counts them from 0."""

    def __init__(self, server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.number = len(server.peers)
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self.reader.readexactly(int(line.partition(b":")[2]))
            if line == b"transfer-encoding: chunked":
                while size := int(await self.reader.readuntil(b"\n"), 16):
                    body += await self.reader.readexactly(size)
                    await self.reader.readexactly(2)
                await self.reader.readexactly(2)
        self.server.requests.append(head + body)
        return head + body

    async def say(self, *data: bytes) -> None:
        """Write, and in case of several parts see to it that they arrive apart."""
        for part in data:
            self.writer.write(part)
            await self.writer.drain()
            if len(data) > 1:
                await asyncio.sleep(0.002)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class RawServer:
    """Runs ``script`` for every connection; a connection whose script ends is closed."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        self.open += 1
        try:
            await self.script(peer)
        except (OSError, asyncio.IncompleteReadError, RuntimeError):
            pass  # the client is gone; uvloop says so with a RuntimeError
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def run(self, context: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


def says(*data: bytes, hold: bool = False, reset: bool = False) -> Script:
    """Answer the first request of every connection with ``data``; then close, reset, or hold the connection open."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*data)
        if reset:
            peer.reset()
        if hold:
            await peer.reader.read()

    return script


def answers(data: bytes) -> Script:
    """Answer every request with ``data``."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.say(data)

    return script


def ok(body: bytes = b"hello", *lines: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (
        b"".join(x + b"\r\n" for x in lines),
        len(body),
        body,
    )


class Call:
    """An exchange as a future; ``ends`` counts how often the wire called back."""

    def __init__(
        self, wire: Http1Wire, method: str = "GET", target: str = "/", headers: bytes = b"", body: bytes = b"",
        timeout: float = 5.0,
    ) -> None:  # fmt: skip
        self.future: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()
        self.ends = 0
        self._sending = True
        self.exchange: Buffered = wire.send(method, target, headers, body, timeout, self._done)
        self._sending = False

    def _done(self, response: WireResponse | None, error: ServiceError | None) -> None:
        assert not self._sending, "called back from within send"
        self.ends += 1
        if self.future.done():
            return
        if response is not None:
            self.future.set_result(response)
        else:
            assert error is not None
            self.future.set_exception(error)


async def fetch(wire: Http1Wire, method: str = "GET", target: str = "/", **options: object) -> WireResponse:
    call = Call(wire, method, target, **options)  # type: ignore[arg-type]
    try:
        return await call.future
    except asyncio.CancelledError:
        call.exchange.abandon()
        raise


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; the test's own timeout bounds it."""
    while not condition():
        await asyncio.sleep(0.001)


Make = Callable[..., Http1Wire]
