"""httpx over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from bff_core.testing import refused_port
from bff_core.wire import Http1Transport

from .raw import Peer, answers, ok, says, settled


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = Http1Transport(max_origins=3)
    async with httpx.AsyncClient(transport=transport, timeout=5) as client:
        yield client
        assert all(wire.in_flight == 0 for wire in transport._wires.values())
    assert not transport._retiring


def url(server) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_requests_of_every_kind(client, serve) -> None:
    server = await serve(answers(ok(gzip.compress(b"hello"), b"content-encoding: gzip")))
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        response = await client.request(method, url(server) + "/a b?c=d&e", headers={"x-y": "z"})
        assert (response.status_code, response.text, response.http_version) == (200, "hello", "HTTP/1.1")
    assert server.requests[0].startswith(b"GET /a%20b?c=d&e HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-y: z\r\n" in server.requests[0]
    assert server.requests[0].lower().count(b"host:") == 1
    assert b"connection:" not in server.requests[0].lower()
    assert len(server.peers) == 1


async def test_bodies(client, serve) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            await peer.say(ok((await peer.request()).split(b"\r\n\r\n", 1)[1]))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 65536

    server = await serve(echo)
    assert (await client.post(url(server), json={"a": 1})).json() == {"a": 1}
    assert len((await client.post(url(server), content=body())).content) == 6553600
    length = {"content-length": "6553600"}
    assert len((await client.post(url(server), content=body(), headers=length)).content) == 6553600
    async with client.stream("POST", url(server), content=b"hello" * 1000) as response:
        assert sum([len(piece) async for piece in response.aiter_raw()]) == 5000
    assert len(server.peers) == 1


async def test_the_hosts_name_is_the_callers_to_choose(client, serve) -> None:
    server = await serve(answers(ok()))
    await client.get(url(server), headers={"host": "shop.example"})
    assert b"host: shop.example\r\n" in server.requests[0]


async def test_errors_are_httpx_errors(client, serve) -> None:
    with pytest.raises(httpx.ConnectError):
        await client.get(f"http://127.0.0.1:{refused_port()}")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(url(await serve(says(b"nonsense"))))
    with pytest.raises(httpx.ReadError):
        await client.get(url(await serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"))))
    with pytest.raises(httpx.ReadTimeout):
        await client.get(url(await serve(says(hold=True))), timeout=0.05)
    with pytest.raises(httpx.LocalProtocolError):
        await client.request("A B", "http://127.0.0.1")


async def test_the_number_of_origins_is_bounded(client, serve) -> None:
    servers = [await serve(answers(ok())) for _ in range(6)]
    for server in servers:
        await client.get(url(server))
    await settled(lambda: sum(server.open for server in servers) == 3)


async def test_cancelling_loses_nothing(client, serve) -> None:
    server = await serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", hold=True))
    for turns in range(1, 40):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0005 * turns):
                await client.get(url(server))
    await settled(lambda: server.open == 0)


async def test_a_body_not_read_is_let_go(client, serve) -> None:
    server = await serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", hold=True))
    async with client.stream("GET", url(server)) as response:
        assert response.status_code == 200
    await settled(lambda: server.open == 0)
