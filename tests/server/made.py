"""A connection without a socket, and the application behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from bff_core.server import Caps, Http1Protocol

__all__ = ["GET", "POST", "Made", "Transport", "answers"]

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0


class Made:
    """A connection, and the application behind it: ``run`` is what it does, ``scopes`` what it saw."""

    def __init__(self, run: Any = None, **caps: Any) -> None:
        self.scopes: list[Any] = []
        self.state = ServerState()
        self.transport = Transport()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.scopes.append(scope)
            await (run or answers)(scope, receive, send)

        config = uvicorn.Config(app, log_config=None, lifespan="off")
        config.load()
        self.connection = Http1Protocol(config, self.state, {"kept": 1}, caps=Caps(**caps))
        self.connection.connection_made(self.transport)

    async def say(self, *pieces: bytes) -> bytes:
        """What is written in answer to ``pieces``, once nobody is at work any more."""
        before = len(self.transport.written)
        for piece in pieces:
            self.connection.data_received(piece)
            for _ in range(5):
                await asyncio.sleep(0)
        return self.transport.written[before:]


async def answers(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
