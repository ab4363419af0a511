"""Somebody who takes webhooks: on one port, one path an endpoint, each behaving as it is told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

__all__ = ["Answer", "Got", "Receiver"]


@dataclass(frozen=True, slots=True)
class Got:
    """A webhook as it came; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


Answer = Callable[[Got], "tuple[int, bytes] | Awaitable[tuple[int, bytes]]"]
"""Status, and further header lines."""


class Receiver:
    """``got`` is what came, by path, also what was then refused. ``behave[path]`` answers; 204 by default."""

    def __init__(self, port: int = 0) -> None:
        self.got: dict[str, list[Got]] = defaultdict(list)
        self.behave: dict[str, Answer] = {}
        self.port = port
        self._server: asyncio.Server | None = None
        self._peers: set[_Peer] = set()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def ids(self, path: str) -> list[str]:
        return [got.id for got in self.got[path]]

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Peer(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for peer in list(self._peers):
            peer.close()

    def take(self, got: Got) -> tuple[int, bytes] | Awaitable[tuple[int, bytes]]:
        path = got.path.strip("/")
        self.got[path].append(got)
        behave = self.behave.get(path)
        return (204, b"") if behave is None else behave(got)


class _Peer(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name
        self._receiver._peers.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._receiver._peers.discard(self)
        if self._task is not None:
            self._task.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, rest = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        if len(rest) < length:
            return
        self._data = rest[length:]
        answer = self._receiver.take(Got(first.split(" ")[1], headers, rest[:length]))
        if isinstance(answer, tuple):
            self._say(*answer)
        else:
            self._task = asyncio.get_running_loop().create_task(self._later(answer))

    async def _later(self, answer: Awaitable[tuple[int, bytes]]) -> None:
        self._say(*await answer)

    def _say(self, status: int, lines: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            length = b"" if status == 204 else b"content-length: 0\r\n"
            self._transport.write(b"HTTP/1.1 %d X\r\n%b%b\r\n" % (status, lines, length))
