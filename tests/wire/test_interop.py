"""Servers that others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from bff_core.errors import ServiceError
from bff_core.wire import Http1Wire

from .raw import fetch

NODE = """
const http = require('http');
const server = http.createServer((request, response) => {
  if (request.url === '/length') { response.setHeader('content-length', '5'); response.end('hello'); }
  else if (request.url === '/chunked') { response.write('hel');
    response.addTrailers({'x-sum': '1'}); response.end('lo'); }
  else if (request.url === '/gzip') { response.setHeader('content-encoding', 'gzip');
    response.end(require('zlib').gzipSync('hello')); }
  else if (request.url === '/empty') { response.statusCode = 204; response.end(); }
  else if (request.url === '/early') { response.writeEarlyHints({link: '</a>; rel=preload'}); response.end('hello'); }
  else if (request.url === '/drop') { request.socket.destroy(); }
  else if (request.url === '/echo') { request.pipe(response); }
  else { response.statusCode = 404; response.end(); }
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""


@contextlib.asynccontextmanager
async def node() -> AsyncIterator[int]:
    program = shutil.which("node")
    if program is None:
        pytest.skip("no node here")
    process = await asyncio.create_subprocess_exec(program, "-e", NODE, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    body, headers, status = b"hello", [], 200
    if path == "/length":
        headers = [(b"content-length", b"5")]
    elif path == "/gzip":
        import gzip

        body, headers = gzip.compress(b"hello"), [(b"content-encoding", b"gzip")]
    elif path == "/empty":
        body, status = b"", 204
    elif path == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
    elif path == "/drop":
        raise SystemError
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def uvicorn_server(http: str) -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=http, lifespan="off", log_level="critical"))  # type: ignore[arg-type]
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest.mark.parametrize("kind", ["node", "httptools", "h11"])
async def test_they_understand_each_other(make, kind: str) -> None:
    async with node() if kind == "node" else uvicorn_server(kind) as port:
        wire: Http1Wire = make(f"http://127.0.0.1:{port}")
        for path in ("/length", "/chunked", "/gzip", "/length", *(["/early"] if kind == "node" else [])):
            for _ in range(3):
                assert (await fetch(wire, target=path)).body == b"hello"
            assert (await fetch(wire, "HEAD", target=path)).body == b""
        assert (await fetch(wire, target="/empty")).status == 204
        assert (await fetch(wire, "POST", target="/echo", body=b"x" * 300_000)).body == b"x" * 300_000
        assert len(wire._pool._open) == 1

        async def body() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"y" * 65536

        async with wire.stream("POST", "/echo", b"", body(), 10) as answer:
            assert sum([len(piece) async for piece in answer]) == 40 * 65536
        await asyncio.gather(*(fetch(wire, target="/length") for _ in range(200)))
        try:
            assert (await fetch(wire, target="/drop")).status == 500
        except ServiceError:
            assert kind == "node"
        assert (await fetch(wire, target="/length")).body == b"hello"
        await wire.aclose()
