"""Bodies that pass through: flat memory, back-pressure both ways, and cancellation anywhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bff_core.errors import BadResponse, CallTimeout, ConnectionLost

from .raw import Peer, answers, fetch, ok, says, settled

MB = 1024 * 1024
BLOCK = bytes(range(256)) * 256


async def pieces(count: int, size: int = 65536) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield BLOCK[:size]


async def test_status_headers_and_body(make, serve) -> None:
    server = await serve(answers(ok(b"hello", b"X-A: b", b"content-encoding: gzip")))
    wire = make(server)
    async with wire.stream("GET", "/", b"", b"", 5) as answer:
        assert (answer.status, answer.headers[0]) == (200, (b"x-a", b"b"))
        assert [piece async for piece in answer] == [b"hello"]  # as sent: not decoded
    assert wire.in_flight == 0
    await fetch(wire, "HEAD")
    assert len(server.peers) == 1


@pytest.mark.parametrize("length", [None, 160 * 65536], ids=["chunked", "length"])
async def test_ten_megabytes_there_and_back(make, serve, length: int | None) -> None:
    async def echo(peer: Peer) -> None:
        while True:
            request = await peer.request()
            await peer.say(ok(request.split(b"\r\n\r\n", 1)[1]))

    server = await serve(echo)
    wire = make(server)
    for _ in range(2):
        got = 0
        async with wire.stream("PUT", "/", b"", pieces(160), 10, length=length) as answer:
            assert wire.in_flight == 1
            async for piece in answer:
                assert piece == (BLOCK * 8)[got % 65536 :][: len(piece)]
                got += len(piece)
        assert got == 160 * 65536
    assert len(server.peers) == 1


async def test_a_slow_reader_slows_the_server_down(make, serve) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 * MB))
        for _ in range(1024):
            await peer.say(BLOCK)
            sent += len(BLOCK)
        await peer.reader.read()

    wire = make(await serve(script))
    async with wire.stream("GET", "/", b"", b"", 0.2) as answer:
        before = -1
        while sent != before:  # until the socket buffers are full and the server stands still
            before = sent
            await asyncio.sleep(0.3)  # longer than the timeout: the reader's own slowness is not the service's
        assert sent < 32 * MB
        assert answer._buffered <= 768 * 1024
        total = 0
        async for piece in answer:
            total += len(piece)
            assert answer._buffered <= 768 * 1024
        assert total == 64 * MB


async def test_a_slow_server_slows_the_sender_down(make, serve) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await go.wait()
        while not (await peer.reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
            pass
        await peer.say(ok())

    made = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(1024):
            made += 1
            yield BLOCK

    wire = make(await serve(script))
    stream = wire.stream("POST", "/", b"", body(), 30)
    entering = asyncio.ensure_future(stream.__aenter__())
    before = -1
    while made != before:
        before = made
        await asyncio.sleep(0.2)
    assert made < 512
    go.set()
    await entering
    assert [piece async for piece in stream] == [b"hello"]
    assert made == 1024
    await stream.aclose()


async def test_an_early_answer_ends_the_sending(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await peer.reader.read()

    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await never.wait()

    wire = make(await serve(script))
    async with wire.stream("POST", "/", b"", body(), 5) as answer:
        assert answer.status == 413
        assert [piece async for piece in answer] == [b"no"]
    assert not wire._pool._open


async def test_an_error_of_the_body_reaches_the_caller(make, serve) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    wire = make(await serve(says(hold=True)))
    with pytest.raises(KeyError, match="mine"):
        async with wire.stream("POST", "/", b"", body(), 5):
            pass


@pytest.mark.parametrize("length", [65536 * 2, 65536 * 4])
async def test_a_body_of_another_length_than_said_is_not_sent_as_if_it_were(make, serve, length: int) -> None:
    wire = make(await serve(says(hold=True)))
    with pytest.raises(ValueError, match="than its length"):
        async with wire.stream("POST", "/", b"", pieces(3), 5, length=length):
            pass
    assert not wire._pool._open


async def test_leaving_early_closes_the_connection(make, serve) -> None:
    server = await serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello", hold=True))
    wire = make(server)
    async with wire.stream("GET", "/", b"", b"", 5) as answer:
        assert await anext(answer) == b"hello"
    assert wire.in_flight == 0
    assert not wire._pool._open
    await settled(lambda: server.open == 0)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", BadResponse),
    ],
)
async def test_what_came_before_the_fault_is_given_then_the_fault(make, serve, data: bytes, error: type) -> None:
    wire = make(await serve(says(data)))
    async with wire.stream("GET", "/", b"", b"", 5) as answer:
        assert await anext(answer) == b"hello"
        with pytest.raises(error):
            await anext(answer)


async def test_silence_in_the_middle_times_out(make, serve) -> None:
    wire = make(await serve(says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello", hold=True)))
    async with wire.stream("GET", "/", b"", b"", 0.05) as answer:
        assert await anext(answer) == b"hello"
        with pytest.raises(CallTimeout):
            await anext(answer)
    wire = make(await serve(says(hold=True)))
    with pytest.raises(CallTimeout):
        async with wire.stream("GET", "/", b"", b"", 0.05):
            pass


async def test_a_get_is_sent_once_more_a_stream_of_ones_own_is_not(make, serve) -> None:
    async def stale(peer: Peer) -> None:
        await peer.request()
        await peer.say(ok())
        await peer.request()
        peer.reset()

    server = await serve(stale)
    wire = make(server)
    await fetch(wire)
    async with wire.stream("GET", "/", b"", b"", 5) as answer:
        assert [piece async for piece in answer] == [b"hello"]
    with pytest.raises(ConnectionLost):
        async with wire.stream("PUT", "/", b"", pieces(1), 5):
            pass


async def test_cancelled_at_every_stage(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n")
        await peer.reader.read()

    server = await serve(script)
    wire = make(server, max_connections=2)

    async def run() -> None:
        async with wire.stream("POST", "/", b"", pieces(2), 5) as answer:
            async for _ in answer:
                pass

    for turns in range(40):
        tasks = [asyncio.ensure_future(run()) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0 if turns < 20 else 0.0005)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert wire.in_flight == 0
        assert len(wire._pool._open) == len(wire._pool._idle)
    await wire.aclose()
    await settled(lambda: server.open == 0)
