"""Sound answers of every kind, and what goes out."""

from __future__ import annotations

import asyncio
import gzip
import sys
import zlib

import pytest

from bff_core.errors import BadResponse
from bff_core.wire import Http1Wire
from bff_core.wire.decode import CODINGS, decode
from bff_core.wire.head import HeaderBlocks, Origin

from .raw import answers, fetch, ok

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
RAW = zlib.compressobj(wbits=-15)

SOUND = {
    "length": (ok(b"hello"), b"hello"),
    "empty": (ok(b""), b""),
    "chunked": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    "chunk extensions": (CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", b"hello"),
    "informational": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nlink: <a>\r\ncontent-length: 9\r\n\r\n" + ok(),
        b"hello",
    ),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
    "gzip": (ok(gzip.compress(b"hello"), b"content-encoding: gzip"), b"hello"),
    "gzip members": (ok(gzip.compress(b"hel") + gzip.compress(b"lo"), b"Content-Encoding: x-GZIP"), b"hello"),
    "deflate": (ok(zlib.compress(b"hello"), b"content-encoding: deflate"), b"hello"),
    "raw deflate": (ok(RAW.compress(b"hello") + RAW.flush(), b"content-encoding: deflate"), b"hello"),
    "two codings": (ok(gzip.compress(zlib.compress(b"hello")), b"content-encoding: deflate, gzip"), b"hello"),
    "identity": (ok(b"hello", b"content-encoding: identity"), b"hello"),
    "gzip of nothing sent": (ok(b"", b"content-encoding: gzip"), b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99999999\r\n\r\n", b""),
}  # fmt: skip


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("data", "body"), SOUND.values(), ids=SOUND.keys())
async def test_sound_answers(make, serve, data: bytes, body: bytes, pieces: bool) -> None:
    async def bytewise(peer) -> None:
        while True:
            await peer.request()
            for at in range(len(data)):
                await peer.say(data[at : at + 1])
                await asyncio.sleep(0)

    server = await serve(bytewise if pieces else answers(data))
    wire = make(server)
    for _ in range(2):
        response = await fetch(wire)
        assert response.body == body
        assert type(response.body) is bytes
        assert response.header(b"link") is None
        if body == b"hello" and b"oding" in data.split(b"\r\n\r\n")[0] and b"chunked" not in data:
            assert response.header(b"content-encoding") in {None, b"identity"}
    assert len(server.peers) == 1


@pytest.mark.parametrize(
    "head", [b"content-length: 1234567890\r\n", b"transfer-encoding: chunked\r\n", b"", b"content-length: 0\r\n"]
)
async def test_head_has_no_body_and_keeps_the_connection(make, serve, head: bytes) -> None:
    server = await serve(answers(HEAD + head + b"\r\n"))
    wire = make(server)
    for _ in range(3):
        assert (await fetch(wire, "HEAD")).body == b""
    assert len(server.peers) == 1


@pytest.mark.parametrize("trailer", [b"connection: close", b"Proxy-Connection: close", b"upgrade: x"])
async def test_a_trailer_about_framing_ends_the_connection(make, serve, trailer: bytes) -> None:
    server = await serve(answers(CHUNKED + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"))
    wire = make(server)
    for _ in range(2):
        assert (await fetch(wire)).body == b"hello"
    assert len(server.peers) == 2


async def test_head_then_get_on_one_connection(make, serve) -> None:
    async def script(peer) -> None:
        while True:
            head = (await peer.request()).startswith(b"HEAD")
            await peer.say(ok()[: -5 if head else None])

    server = await serve(script)
    wire = make(server)
    for method, body in [("HEAD", b""), ("GET", b"hello"), ("HEAD", b""), ("GET", b"hello")]:
        assert (await fetch(wire, method)).body == body
    assert len(server.peers) == 1


async def test_names_are_lower_case_values_and_order_are_kept(make, serve) -> None:
    server = await serve(answers(ok(b"", b"X-A: One", b"SET-cookie: a", b"Set-Cookie: b", b"x-empty:")))
    response = await fetch(make(server))
    assert response.headers[:4] == [(b"x-a", b"One"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"x-empty", b"")]


async def test_what_surrounds_a_value_is_not_part_of_it_however_it_comes(make, serve) -> None:
    whole, pieces = (
        ok(b"", b"x-a: \tone two \t "),
        CHUNKED.replace(b"\r\n\r\n", b"\r\nx-a: \tone two \t \r\n\r\n0\r\n\r\n"),
    )
    for data in (whole, pieces):
        assert (await fetch(make(await serve(answers(data))))).header(b"x-a") == b"one two"


async def test_a_large_body_in_many_pieces(make, serve) -> None:
    body = bytes(range(256)) * 3900
    server = await serve(answers(ok(body)))
    assert (await fetch(make(server))).body == body


async def test_exactly_the_limit_is_taken(make, serve) -> None:
    server = await serve(answers(ok(gzip.compress(b"x" * 1000), b"content-encoding: gzip")))
    assert len((await fetch(make(server, max_body=1000))).body) == 1000
    with pytest.raises(BadResponse):
        await fetch(make(server, max_body=999))


BAD_BLOCKS = [
    b"a: b", b"a: b\n", b"a: b\r\n\r\n", b"\r\n", b": b\r\n", b"a b: c\r\n", b"a : c\r\n", b" a: b\r\n",
    b"a: b\r\n c\r\n",
    b"a: b\rc\r\n", b"a: b\nc: d\r\n", b"a: b\0\r\n", b"a: \x7f\r\n", b"a\xff: b\r\n", b"a: b\r\nGET / HTTP/1.1\r\n",
    b"Host: x\r\n", b"x: y\r\nCONTENT-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"Connection: close\r\n",
    b"upgrade: h2c\r\n", b"keep-alive: 1\r\n", b"proxy-connection: x\r\n",
]  # fmt: skip


@pytest.mark.parametrize("block", BAD_BLOCKS)
def test_header_blocks_that_could_smuggle_are_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        HeaderBlocks().check(block)


@pytest.mark.parametrize(
    "block", [b"", b"a: b\r\n", b"hosts:x\r\nconnection-id: \xc3\xa4\t y\r\n", b"te: trailers\r\nc:\r\n"]
)
def test_header_blocks_that_are_sound(block: bytes) -> None:
    blocks = HeaderBlocks()
    for _ in range(2):
        blocks.check(block)


def test_the_memory_for_header_blocks_is_bounded() -> None:
    blocks = HeaderBlocks()
    for number in range(2000):
        blocks.check(b"n: %d\r\n" % number)
    assert len(blocks._good) <= 256


@pytest.mark.parametrize("target", ["", "x", "http://x/", "*", "/ ", "/a b", "/\r\n", "/\x7f", "/\0", "/ä", "/a\n"])
async def test_targets_that_could_smuggle_are_refused(make, target: str) -> None:
    wire = make("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="target"):
        wire.send("GET", target, b"", b"", 1, lambda *_: None)


@pytest.mark.parametrize("method", ["", "GET ", "G\r\nX", "GÄT", "CONNECT", "GET\0"])
async def test_methods_that_could_smuggle_are_refused(make, method: str) -> None:
    wire = make("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="method"):
        wire.send(method, "/", b"", b"", 1, lambda *_: None)


@pytest.mark.parametrize(
    "origin",
    ["", "127.0.0.1", "ftp://x", "http://", "http://a/b", "http://a?b", "http://u@a", "http://a\r\nb", "http://a b",
     "http://a:99999"],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - urllib has its own words for some
        Http1Wire(origin, connect_timeout=1, max_body=1, max_connections=1)


def test_origins() -> None:
    other = Origin("https://10.0.0.1:8443", "shop:444")
    assert (other.host, other.port, other.name, other.authority) == ("10.0.0.1", 8443, "shop", b"shop:444")
    assert Origin("http://Shop:80/").authority == b"shop"
    assert Origin("https://shop:444").authority == b"shop:444"
    assert (Origin("http://[::1]:8000").host, Origin("http://[::1]:8000").authority) == ("::1", b"[::1]:8000")
    assert Origin("https://münchen.example").authority == b"xn--mnchen-3ya.example"


@pytest.mark.parametrize(
    ("method", "body", "framing"),
    [
        ("GET", b"", b""),
        ("GET", b"x", b"content-length: 1\r\n"),
        ("POST", b"", b"content-length: 0\r\n"),
        ("DELETE", b"", b""),
    ],
)
async def test_the_length_of_a_request_is_announced(make, serve, method: str, body: bytes, framing: bytes) -> None:
    server = await serve(answers(ok()))
    await fetch(make(server), method, body=body)
    where = b"127.0.0.1:%d" % server.port
    assert server.requests == [b"%b / HTTP/1.1\r\nhost: %b\r\n%b\r\n%b" % (method.encode(), where, framing, body)]


async def test_accept_encoding_is_sent_when_asked_for(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, accept_encoding="gzip")
    await fetch(wire)
    await fetch(wire, headers=b"Accept-Encoding: br\r\n")
    assert b"accept-encoding: gzip\r\n" in server.requests[0]
    assert b"gzip" not in server.requests[1]


@pytest.mark.skipif(b"br" not in CODINGS, reason="no brotli (1.2 or later) here")
def test_brotli() -> None:
    brotli = pytest.importorskip("brotli")
    assert decode(brotli.compress(b"hello" * 1000), b"br", 5000) == b"hello" * 1000
    for bad in (brotli.compress(b"\0" * 10_000_000), brotli.compress(b"hello" * 99)[:-3], b"nope"):
        with pytest.raises(BadResponse):
            decode(bad, b"br", 5000)


@pytest.mark.skipif(b"zstd" not in CODINGS, reason="no zstd here")
def test_zstd() -> None:
    compress = __import__("compression.zstd" if sys.version_info >= (3, 14) else "zstandard").compress
    assert decode(compress(b"hello" * 1000), b"zstd", 5000) == b"hello" * 1000
    for bad in (compress(b"\0" * 10_000_000), compress(b"hello" * 99)[:-3], b"nope"):
        with pytest.raises(BadResponse):
            decode(bad, b"zstd", 5000)
