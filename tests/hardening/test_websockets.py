"""Who may open a WebSocket."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import WebSocket

from bff_core import Settings, create_bff
from bff_core.cli.serve import has_websockets
from bff_core.hardening import Cors

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("host", "origin", "opened"),
    [
        (b"api.shop.com", None, True),
        (b"evil.com", None, False),
        (None, None, False),
        (b"api.shop.com", b"https://api.shop.com", True),
        (b"API.shop.com", b"https://api.shop.com", True),
        (b"api.shop.com", b"https://www.shop.com", True),
        (b"api.shop.com", b"https://evil.com", False),
        (b"api.shop.com", b"null", False),
        (b"evil.com", b"https://evil.com", False),
    ],
)
async def test_a_websocket_comes_in_by_the_edge(host: bytes | None, origin: bytes | None, opened: bool) -> None:
    settings = Settings(allowed_hosts=("api.shop.com",), cors=Cors(origins=("https://www.shop.com",)))
    app = create_bff("sockets", settings=settings, clients=[])

    @app.websocket("/ws")
    async def speak(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    headers = [(name, value) for name, value in ((b"host", host), (b"origin", origin)) if value is not None]
    scope = {
        "type": "websocket", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws", "path": "/ws",
        "raw_path": b"/ws", "query_string": b"", "root_path": "", "headers": headers, "subprotocols": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await app(scope, receive, send)
    assert sent == (["websocket.accept"] if opened else []) + ["websocket.close"]


def test_a_gateway_without_websockets_takes_none() -> None:
    """One with them does not log their queries."""
    app = create_bff("sockets", settings=Settings(), clients=[])
    assert not has_websockets(app)

    @app.websocket("/ws")
    async def speak(socket: WebSocket) -> None:
        await socket.accept()

    log = logging.getLogger("uvicorn.error")
    before = list(log.filters)
    try:
        assert has_websockets(app)
        said = ['%s - "WebSocket %s" [accepted]', '%s - "WebSocket %s" 403', "Uvicorn running"]
        records = [log.makeRecord(log.name, logging.INFO, "", 0, text, (), None) for text in said]
        assert [bool(log.filter(record)) for record in records] == [False, False, True]
    finally:
        log.filters[:] = before
