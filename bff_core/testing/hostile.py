"""A server that misbehaves on request, over real sockets: what the wire and the pipeline must survive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

__all__ = ["HostileServer", "refused_port"]

OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"ok": true}\n'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
GIGABYTE = 1024**3


def refused_port() -> int:
    """A port on loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HostileServer:
    """Answers ``/BEHAVIOUR`` (one of ``behaviours``, further segments are ignored) by misbehaving so.

    ``requests`` counts what came by behaviour, ``open`` is how many connections are open now, ``accepted`` how many
    there were. ``flaky`` refuses every other time. ``release`` lets go the answers that are held back (``never``,
    ``late``).
    """

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.open = 0
        self.accepted = 0
        self.release = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None  # noqa: S101 - entered before it is left
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The server's origin."""
        assert self._server is not None  # noqa: S101 - only a started server has one
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def behaviours(self) -> list[str]:
        """All it can do."""
        return sorted(_BEHAVIOURS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio runs it as one
        self._tasks.add(task)
        self.open += 1
        self.accepted += 1
        try:
            while await self._serve(reader, writer):
                pass
        except (OSError, RuntimeError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; true when the connection may go on."""
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                await reader.readexactly(int(line.partition(b":")[2]))
        behaviour = head.split(b" ", 2)[1].split(b"?")[0].split(b"/")[1].decode()
        self.requests[behaviour] += 1
        act = _BEHAVIOURS.get(behaviour)
        if act is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            return True
        return await act(self, reader, writer)


Behaviour = Callable[[HostileServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
_BEHAVIOURS: dict[str, Behaviour] = {}


def _says(name: str, data: bytes, *, keep: bool = False, reset: bool = False) -> None:
    async def act(_: HostileServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        if reset:
            _reset(writer)
        return keep

    _BEHAVIOURS[name] = act


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _never(server: HostileServer, _: asyncio.StreamReader, __: asyncio.StreamWriter) -> bool:
    await server.release.wait()
    return False


async def _late(server: HostileServer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await server.release.wait()
    writer.write(OK)
    await writer.drain()
    return True


async def _flaky(server: HostileServer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
    writer.write(refused if server.requests["flaky"] % 2 else OK)
    await writer.drain()
    return True


async def _trickle(server: HostileServer, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(HEAD + b"content-length: 50000\r\n\r\n")
    while not server.release.is_set():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)
    return False


async def _endless(_: HostileServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    block = b"10000\r\n" + b" " * 65536 + b"\r\n"
    while True:
        writer.write(block)
        await writer.drain()


async def _huge(_: HostileServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % (2 * GIGABYTE))
    block = b" " * 65536
    for _sent in range(2 * GIGABYTE // len(block)):
        writer.write(block)
        await writer.drain()
    return True


async def _half_close(_: HostileServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(HEAD + b"content-length: 100\r\n\r\n{")
    writer.write_eof()
    await reader.read()
    return False


_BEHAVIOURS |= {
    "never": _never,
    "late": _late,
    "flaky": _flaky,
    "trickle": _trickle,
    "endless": _endless,
    "huge": _huge,
    "half-close": _half_close,
}
_says("ok", OK, keep=True)
_says("close-after", OK)
_says("close", b"")
_says("reset", b"", reset=True)
_says("reset-mid-head", b"HTTP/1.1 200 OK\r\nconte", reset=True)
_says("reset-mid-body", HEAD + b'content-length: 100\r\n\r\n{"ok"', reset=True)
_says("close-mid-body", HEAD + b'content-length: 100\r\n\r\n{"ok"')
_says("close-mid-chunk", HEAD + b'transfer-encoding: chunked\r\n\r\n20\r\n{"ok"')
_says("longer-than-said", HEAD + b'content-length: 12\r\n\r\n{"ok": true}{"ok": false}', keep=True)
_says("two-answers", OK + OK, keep=True)
_says("garbage", b"\x16\x03\x01\x02\x00SSH-2.0 not HTTP at all\r\n\r\n")
_says("two-lengths", HEAD + b"content-length: 2\r\ncontent-length: 20\r\n\r\n{}")
_says("length-and-chunked", HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
_says("negative-length", HEAD + b"content-length: -2\r\n\r\n{}")
_says("head-bomb", b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(1000)))
_says("informational", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + OK, keep=True)
_says("informational-storm", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1_000)
_says("not-json", HEAD + b"content-length: 5\r\n\r\n<html", keep=True)
_says("truncated-json", HEAD + b'content-length: 5\r\n\r\n{"ok"', keep=True)
_says("bad-gzip", HEAD + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nnope!", keep=True)
_says("unavailable", b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n", keep=True)
_says("error", b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", keep=True)
