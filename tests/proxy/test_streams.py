"""Bodies that pass through: flat memory, back-pressure, what breaks off, and clients that leave."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from bff_core import Policy, ServiceError
from bff_core.proxy import client
from bff_core.testing import HostileServer
from tests.wire.raw import Peer, answers, ok

from .conftest import CALM, Gateway, Start, WireKind, settled

MB = 1024 * 1024
BLOCK = bytes(range(256)) * 256


def narrow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Small buffers, so that who is slow is felt soon."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)


async def standstill(count: Any) -> int:
    """``count()`` once it no longer changes."""
    before = -1
    while (now := count()) != before:
        before = now
        await asyncio.sleep(0.15)
    return before


class Source:
    """Gives ``size`` bytes to whoever asks; counts what it was able to write."""

    def __init__(self, size: int, *, chunked: bool = False) -> None:
        self.size = size
        self.chunked = chunked
        self.sent = 0

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.request()
            framing = b"transfer-encoding: chunked" if self.chunked else b"content-length: %d" % self.size
            await peer.say(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
            for _ in range(self.size // len(BLOCK)):
                await peer.say(b"10000\r\n" + BLOCK + b"\r\n" if self.chunked else BLOCK)
                self.sent += len(BLOCK)
            if self.chunked:
                await peer.say(b"0\r\n\r\n")


class Drain:
    """Takes a body of any size, at will; counts it."""

    def __init__(self) -> None:
        self.got = 0
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        head = await peer.reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self.go.wait()
        while self.got < left:
            self.got += len(await peer.reader.read(1 << 18))
        await peer.say(ok(b"%d" % self.got))
        await peer.reader.read()


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_slow_reader_slows_the_service_down(start: Start, serve: Any, wire: WireKind, chunked: bool) -> None:
    """64 MB, and a few in memory at the most; its slowness is nobody's timeout."""
    source = Source(64 * MB, chunked=chunked)
    server = await serve(source)
    policy = CALM.model_copy(update={"timeout": 0.2})
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, policy=policy)
    reader, writer = await gateway.connect(limit=65536)
    writer.write(b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    tracemalloc.start()
    try:
        assert await standstill(lambda: source.sent) < 32 * MB
        assert gateway.in_flight() == 1
        left = 64 * MB
        while left > 0:
            left -= len(await reader.read(1 << 20))
        assert tracemalloc.get_traced_memory()[1] < 10 * MB
    finally:
        tracemalloc.stop()
    writer.close()


async def test_a_slow_service_slows_the_sender_down(start: Start, serve: Any, wire: WireKind) -> None:
    """The same the other way."""
    drain = Drain()
    server = await serve(drain)
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, methods=("PUT",), max_body=64 * MB)
    reader, writer = await gateway.connect()
    writer.write(b"PUT /media/x HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (64 * MB))
    written = 0

    async def upload() -> None:
        nonlocal written
        for _ in range(1024):
            writer.write(BLOCK)
            await writer.drain()
            written += len(BLOCK)

    tracemalloc.start()
    try:
        sending = asyncio.ensure_future(upload())
        assert await standstill(lambda: written) < 32 * MB
        drain.go.set()
        await sending
        got = await reader.readuntil(b"%d" % (64 * MB))
        assert tracemalloc.get_traced_memory()[1] < 10 * MB
    finally:
        tracemalloc.stop()
    assert got.startswith(b"HTTP/1.1 200")
    assert drain.got == 64 * MB
    writer.close()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
async def test_a_gigabyte_leaves_memory_as_it_was(start: Start, serve: Any) -> None:
    """Resident memory of the whole process, this client and that service included, within 10 MB of what the first
    megabytes took."""
    server = await serve(Source(1024 * MB))
    gateway = await start(f"http://127.0.0.1:{server.port}")
    reader, writer = await gateway.connect(limit=65536)
    writer.write(b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    total = peak = 0
    base = None
    while total < 1024 * MB:
        total += len(await reader.read(1 << 18))
        if total > 16 * MB:
            base = base or resident()
            peak = max(peak, resident())
    assert total == 1024 * MB
    assert base is not None
    assert peak - base < 10 * MB
    writer.close()


@pytest.mark.parametrize("behaviour", ["close-mid-body", "close-mid-chunk", "reset-mid-body", "half-close"])
async def test_what_breaks_off_is_seen_to(start: Start, wire: WireKind, behaviour: str) -> None:
    """The client's connection ends before the end of the answer: never a 200 that only looks whole."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire)
        got = await gateway.raw(b"GET /media/%b HTTP/1.1\r\nhost: x\r\n\r\n" % behaviour.encode())
        head, _, body = got.partition(b"\r\n\r\n")
        assert b"\r\nconnection: close" not in head  # nothing but the server's end of it ends the answer
        if head.startswith(b"HTTP/1.1 200"):
            assert b"content-length: 100" in head or not body.endswith(b"0\r\n\r\n")
            assert len(body) < 100
        else:
            assert head.startswith(b"HTTP/1.1 502")
        # The next request is not hurt.
        assert (await gateway.client.get("/media/ok")).status_code == 200


async def test_silence_in_the_middle_ends_it(start: Start, serve: Any, wire: WireKind) -> None:
    """``idle`` bounds each wait, and the circuit stays closed: a stream may have nothing to say."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
        await peer.reader.read()

    gateway = await start(f"http://127.0.0.1:{(await serve(script)).port}", wire=wire, idle=0.1)
    got = await gateway.raw(b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n")
    assert got.endswith(b"\r\n\r\nhello")
    assert gateway.failures() == 0


async def test_events_go_out_as_they_come(start: Start, serve: Any, wire: WireKind) -> None:
    """No event waits for the next; a stream may be longer than timeout and deadline."""
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(5):
            await told.wait()
            told.clear()
            await peer.say(b"9\r\ndata: %d\n\n\r\n" % number)
        await peer.say(b"0\r\n\r\n")

    server = await serve(script)
    policy = CALM.model_copy(update={"timeout": 0.1})
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, policy=policy, settings={"deadline": 0.2})
    async with gateway.client.stream("GET", "/media/x") as answer:
        assert answer.status_code == 200  # before the first event
        pieces = answer.aiter_raw()
        for number in range(5):
            await asyncio.sleep(0.06)
            told.set()
            assert await anext(pieces) == b"data: %d\n\n" % number
        with pytest.raises(StopAsyncIteration):
            await anext(pieces)


async def leave(gateway: Gateway, request: bytes, seen: Any) -> None:
    """Ask, wait until ``seen``, and leave."""
    _, writer = await gateway.connect()
    writer.write(request)
    await settled(seen)
    writer.transport.abort()


@pytest.mark.parametrize("patience", [0.0, 0.5], ids=["watched", "not-yet-watched"])
@pytest.mark.parametrize("behaviour", ["never", "trickle", "endless", "huge"])
async def test_a_client_that_leaves_frees_its_slot(
    start: Start, wire: WireKind, behaviour: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the head, or amid the body, and before or after the gateway has begun to look whether it is still there;
    the service's connection is closed, the circuit unmoved."""
    monkeypatch.setattr(client, "PATIENCE", patience)
    async with HostileServer() as server:
        policy = CALM.model_copy(update={"timeout": 1.0} if wire == "httpx" else {"timeout": 30.0})
        gateway = await start(server.url, wire=wire, policy=policy, settings={"deadline": 600})
        request = b"GET /media/%b HTTP/1.1\r\nhost: x\r\n\r\n" % behaviour.encode()
        for _ in range(3):
            before = server.requests[behaviour]
            await leave(gateway, request, lambda before=before: server.requests[behaviour] > before)
        await settled(lambda: gateway.in_flight() == 0)
        server.release.set()
        await settled(lambda: server.open == 0)
        assert gateway.failures() == 0
        assert (await gateway.client.get("/media/ok")).status_code == 200


async def test_a_client_that_leaves_amid_its_upload(start: Start, serve: Any, wire: WireKind) -> None:
    """The service sees a request that is cut off, not one that is complete."""
    seen: list[bytes] = []
    ended: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.reader.readuntil(b"\r\n\r\n"))
        ended.append(await peer.reader.read())

    gateway = await start(
        f"http://127.0.0.1:{(await serve(script)).port}", wire=wire, methods=("PUT",), max_body=64 * MB
    )
    request = b"PUT /media/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    await leave(gateway, request, lambda: bool(seen))
    await settled(lambda: bool(ended) and gateway.in_flight() == 0)
    assert ended == [b"5\r\nhello\r\n"]
    assert gateway.failures() == 0


async def test_a_client_that_stalls_amid_its_upload(start: Start, serve: Any, wire: WireKind) -> None:
    """408 after ``idle``, and nothing is held."""

    async def script(peer: Peer) -> None:
        await peer.request()

    gateway = await start(f"http://127.0.0.1:{(await serve(script)).port}", wire=wire, methods=("PUT",), idle=0.1)
    reader, writer = await gateway.connect()
    writer.write(b"PUT /media/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nhello")
    assert (await reader.readuntil(b"\r\n")).split()[1] == b"408"
    writer.close()
    assert gateway.failures() == 0


async def test_a_client_that_takes_nothing(start: Start, serve: Any, wire: WireKind) -> None:
    """After ``idle`` its slot is free, although it is still connected."""
    server = await serve(Source(64 * MB))
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, idle=0.2)
    _, writer = await gateway.connect(limit=65536)
    writer.write(b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n")
    await settled(lambda: gateway.in_flight() == 1)
    await settled(lambda: gateway.in_flight() == 0)
    writer.transport.abort()


async def test_an_early_answer(start: Start, serve: Any) -> None:
    """The service refuses before it has seen all of it; the client gets that, not an error of ours.
    (httpx sends all of the body before it looks at the answer.)"""

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        await peer.reader.read()

    gateway = await start(
        f"http://127.0.0.1:{(await serve(script)).port}", methods=("PUT",), max_body=64 * MB, idle=0.5
    )
    reader, writer = await gateway.connect()
    writer.write(b"PUT /media/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nhello")
    assert (await reader.readuntil(b"no")).split()[1] == b"403"
    writer.transport.abort()


async def test_cancelled_at_any_time(start: Start, serve: Any, wire: WireKind) -> None:
    """A hundred clients that leave after a random moment: the fixtures look at what is left."""
    server = await serve(Source(MB))
    policy = Policy(timeout=0.5, bulkhead=8, breaker=CALM.breaker)
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, policy=policy, methods=("GET", "PUT"), idle=0.5)
    for number in range(100):
        reader, writer = await gateway.connect()
        if number % 3:
            writer.write(b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n")
        else:
            writer.write(b"PUT /media/x HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"x" * 50_000)
        await asyncio.sleep(number % 10 / 2000)
        if number % 7 == 0:
            await reader.read(1000)
        writer.transport.abort()
    await settled(lambda: gateway.in_flight() == 0)
    gc.collect()


async def call(gateway: Gateway, target: str) -> list[Any]:
    """The messages that the application sends; raises what it raises."""
    messages: list[Any] = []
    scope = {
        "type": "http", "method": "GET", "path": target, "raw_path": target.encode(), "query_string": b"",
        "headers": [(b"host", b"x")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "scheme": "http",
        "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    await gateway.app(scope, receive, send)
    return messages


async def test_a_small_answer_is_two_messages(start: Start, serve: Any) -> None:
    """Start and body, no more."""
    server = await serve(answers(ok(b"hello")))
    messages = await call(await start(f"http://127.0.0.1:{server.port}"), "/media/x")
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert messages[1] == {"type": "http.response.body", "body": b"hello"}


async def test_what_breaks_off_is_raised_to_the_server(start: Start, wire: WireKind) -> None:
    """Which is how an ASGI application says that the connection must not look as if all were well."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire)
        with pytest.raises(ServiceError, match=r"media\.proxy /media/\{path:path\}"):
            await call(gateway, "/media/close-mid-body")
