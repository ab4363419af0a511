"""Whatever a server does wrong, the caller gets the right error, and nothing is held afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib

import pytest

from bff_core.errors import BadResponse, CallTimeout, ConnectFailed, ConnectionLost, ServiceError
from bff_core.testing import HostileServer, refused_port

from .raw import Call, Peer, answers, fetch, ok, says, settled

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

BAD_FRAMING = {
    "both lengths and chunked": HEAD + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked and length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}}",
    "negative length": HEAD + b"content-length: -2\r\n\r\n{}",
    "signed length": HEAD + b"content-length: +2\r\n\r\n{}",
    "list of lengths": HEAD + b"content-length: 2, 2\r\n\r\n{}",
    "hexadecimal length": HEAD + b"content-length: 0x2\r\n\r\n{}",
    "empty length": HEAD + b"content-length:\r\n\r\n{}",
    "overflowing length": HEAD + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "gzip transfer": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked not last": HEAD + b"transfer-encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity then chunked": HEAD + b"transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "unknown transfer": HEAD + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": HEAD + b"content-length : 2\r\n\r\n{}",
    "NUL in a value": HEAD + b"a: b\0c\r\ncontent-length: 0\r\n\r\n",
    "bare CR in a value": HEAD + b"a: b\rc\r\ncontent-length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "folded header": HEAD + b"a: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "chunk size is no number": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "chunk size overflows": CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n",
    "length in a trailer": CHUNKED + b"2\r\n{}\r\n0\r\ncontent-length: 7\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00SSH-2.0 not HTTP at all\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "leading empty line": b"\r\n" + ok(),
    "HTTP/2": b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/2 kept alive": b"HTTP/2.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 OK\r\ncontent-length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 S\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    "status 101 without upgrade": b"HTTP/1.1 101 S\r\n\r\n" + ok(),
    "storm of 103": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000,
    "endless 100": b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + ok(),
    "body of an informational answer": b"HTTP/1.1 150 X\r\ncontent-length: 5\r\n\r\nhello" + ok(),
    "chunks of an informational answer": b"HTTP/1.1 104 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + ok(),
    "too many headers": HEAD + b"".join(b"x%d: y\r\n" % n for n in range(129)) + b"content-length: 0\r\n\r\n",
    "too many trailers": CHUNKED + b"0\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(129)) + b"\r\n",
    "head too large": HEAD + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
    "head without end": HEAD + b"x: " + b"y" * 70_000,
    "header name without end": HEAD + b"y" * 70_000,
    "trailer without end": CHUNKED + b"0\r\nx: " + b"y" * 200_000,
    "body announced too large": HEAD + b"content-length: 2147483648\r\n\r\n{",
    "body too large": CHUNKED + b"100000\r\n" + b"y" * 0x100000 + b"\r\n",
    "body too large until close": HEAD + b"\r\n" + b"y" * 1_000_001,
    "gzip bomb": ok(gzip.compress(b"\0" * 10_000_000), b"content-encoding: gzip"),
    "deflate bomb": ok(zlib.compress(b"\0" * 10_000_000), b"content-encoding: deflate"),
    "gzip cut off": ok(gzip.compress(b"hello" * 100)[:-9], b"content-encoding: gzip"),
    "gzip with a wrong sum": ok(gzip.compress(b"hello")[:-8] + b"\0" * 8, b"content-encoding: gzip"),
    "gzip with garbage after it": ok(gzip.compress(b"hello") + b"garbage", b"content-encoding: gzip"),
    "not gzip": ok(b"hello", b"content-encoding: gzip"),
    "unknown coding": ok(b"hello", b"content-encoding: lzma"),
    "many codings": ok(b"hello", b"content-encoding: gzip, gzip, gzip"),
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("data", BAD_FRAMING.values(), ids=BAD_FRAMING.keys())
async def test_what_is_not_a_sound_answer_is_refused(make, serve, data: bytes, split: bool) -> None:
    parts = [data[: len(data) // 3], data[len(data) // 3 :]] if split else [data]

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(*(parts if len(peer.server.requests) == 1 else [ok()]))
        await answers(ok())(peer)

    server = await serve(script)
    wire = make(server)
    with pytest.raises(BadResponse):
        await fetch(wire)
    assert wire.in_flight == 0
    assert (await fetch(wire)).body == b"hello"


BROKEN = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 2",
    "half a head": HEAD + b"content-",
    "head only": HEAD + b"content-length: 5\r\n\r\n",
    "half a body": HEAD + b"content-length: 5\r\n\r\nhel",
    "half a chunk": CHUNKED + b"5\r\nhel",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
    "no end of trailers": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "1xx only": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_a_connection_that_ends_too_early_is_lost(make, serve, data: bytes, reset: bool) -> None:
    server = await serve(says(data, reset=reset))
    wire = make(server)
    with pytest.raises(ConnectionLost):
        await fetch(wire)
    assert len(server.requests) == 1  # on a new connection nothing is repeated


async def test_half_closed_before_the_answer_is_lost(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.write_eof()
        await peer.reader.read()

    with pytest.raises(ConnectionLost):
        await fetch(make(await serve(script)))


async def test_reset_of_a_body_that_ends_with_the_connection_is_lost(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HEAD + b"\r\nhel")
        await asyncio.sleep(0.02)
        peer.reset()

    with pytest.raises(ConnectionLost):
        await fetch(make(await serve(script)))


async def test_refused(make) -> None:
    wire = make(f"http://127.0.0.1:{refused_port()}")
    with pytest.raises(ConnectFailed):
        await fetch(wire)


async def test_a_name_without_an_address(make) -> None:
    with pytest.raises(ConnectFailed):
        await fetch(make("http://no-such-name.invalid"))


async def test_more_than_announced_is_not_mixed_into_the_next_answer(make, serve) -> None:
    server = await serve(answers(ok(b"hello") + ok(b"smuggled")))
    wire = make(server, max_connections=1)
    for _ in range(3):
        assert (await fetch(wire)).body == b"hello"
    assert len(server.peers) == 3


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 2", b"\0", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"])
async def test_bytes_after_the_answer_end_the_connection(make, serve, extra: bytes) -> None:
    server = await serve(answers(ok() + extra))
    wire = make(server)
    for _ in range(2):
        assert (await fetch(wire)).body == b"hello"
    assert len(server.peers) == 2


@pytest.mark.parametrize("extra", [b"x", b"hello", b"5\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"0\r\n\r\n"])
@pytest.mark.parametrize(
    "framing", [b"content-length: 5\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n", b""]
)
async def test_bytes_after_an_answer_to_head_end_the_connection(make, serve, framing: bytes, extra: bytes) -> None:
    server = await serve(answers(HEAD + framing + b"\r\n" + extra))
    wire = make(server)
    for _ in range(2):
        response = await fetch(wire, "HEAD")
        assert (response.status, response.body) == (200, b"")
    assert len(server.peers) == 2


async def test_a_damaged_body_ends_the_connection(make, serve) -> None:
    server = await serve(answers(ok(b"hello", b"content-encoding: gzip")))
    wire = make(server)
    for _ in range(2):
        with pytest.raises(BadResponse):
            await fetch(wire)
    assert len(server.peers) == 2


async def test_unasked_bytes_on_an_idle_connection_close_it(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server)
    await fetch(wire)
    await server.peers[0].say(ok(b"smuggled"))
    await settled(lambda: not wire._pool._open)
    assert (await fetch(wire)).body == b"hello"


async def test_never_answered_times_out_and_the_connection_is_not_used_again(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number:
            await peer.say(ok())
        await peer.reader.read()

    server = await serve(script)
    wire = make(server, max_connections=1)
    with pytest.raises(CallTimeout):
        await fetch(wire, timeout=0.05)
    assert (await fetch(wire)).body == b"hello"
    await settled(lambda: server.open == 1)


@pytest.mark.parametrize("start", [b"", HEAD + b"x: ", HEAD + b"content-length: 1000\r\n\r\n", CHUNKED + b"fff\r\n"])
async def test_a_trickle_ends_with_the_timeout(make, serve, start: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(start or b"HTTP/1.1 ")
        while True:
            await peer.say(b"2")
            await asyncio.sleep(0.01)

    with pytest.raises((CallTimeout, BadResponse)) as caught:
        await fetch(make(await serve(script)), timeout=0.1)
    assert start == b"" or isinstance(caught.value, CallTimeout)


async def test_connecting_is_bounded_by_its_own_timeout(make, monkeypatch) -> None:
    async def never(*_: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("bff_core.wire.connect._connect", never)
    wire = make("http://127.0.0.1:9", connect_timeout=0.02)
    with pytest.raises(ConnectFailed):
        await fetch(wire)
    wire = make("http://127.0.0.1:9", connect_timeout=5)
    with pytest.raises(CallTimeout):
        await fetch(wire, timeout=0.02)
    assert not wire._pool._dials


async def test_a_callback_that_raises_breaks_nothing(make, serve, caplog) -> None:
    caplog.set_level("ERROR")  # a gateway of another test may have set the root logger's
    server = await serve(answers(ok()))
    wire = make(server)
    ended: list[object] = []

    def done(response: object, error: object) -> None:
        ended.append(response)
        raise RuntimeError("the caller's fault")

    wire.send("GET", "/", b"", b"", 5, done)
    await settled(lambda: bool(ended))
    assert "the caller's fault" in caplog.text
    await fetch(wire)
    assert len(server.peers) == 1


EXPECTED: dict[str, type[ServiceError] | int] = {
    "ok": 200, "close-after": 200, "informational": 200, "longer-than-said": 200, "two-answers": 200, "error": 500,
    "close": ConnectionLost, "reset": ConnectionLost, "reset-mid-head": ConnectionLost,
    "reset-mid-body": ConnectionLost,
    "close-mid-body": ConnectionLost, "close-mid-chunk": ConnectionLost, "half-close": ConnectionLost,
    "garbage": BadResponse, "two-lengths": BadResponse, "length-and-chunked": BadResponse, "endless": BadResponse,
    "negative-length": BadResponse, "head-bomb": BadResponse, "informational-storm": BadResponse, "huge": BadResponse,
    "bad-gzip": BadResponse, "never": CallTimeout, "trickle": CallTimeout,
}  # fmt: skip


class Server(HostileServer):
    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(RuntimeError):  # uvloop's way to say that the client is gone
            await super()._accept(reader, writer)


async def test_a_thousand_mixed_faults_leave_nothing(make) -> None:
    async with Server() as server:
        wire = make(server.url, max_connections=16, max_body=100_000)
        kinds = sorted(EXPECTED)

        async def one(number: int) -> None:
            kind = kinds[number % len(kinds)]
            expected = EXPECTED[kind]
            slow = kind in {"never", "trickle"}
            call = Call(wire, target=f"/{kind}", timeout=0.05 if slow else 30)
            if number % 7 == 0:
                await asyncio.sleep(0.0005 * (number % 5))
                before = call.ends
                call.exchange.abandon()
                await asyncio.sleep(0)
                assert call.ends == before
                if call.future.done():
                    call.future.exception()
                return
            try:
                got: object = (await call.future).status
            except ServiceError as error:
                got = type(error)
            assert got == expected or (slow and got is CallTimeout), (kind, got)
            assert call.ends == 1

        for start in range(0, 1008, 48):
            await asyncio.gather(*(one(number) for number in range(start, start + 48)))
        assert wire.in_flight == 0
        assert (await fetch(wire, target="/ok")).status == 200
        await wire.aclose()
        server.release.set()
        await settled(lambda: server.open == 0)
