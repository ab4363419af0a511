"""How much, and how slow: each cap at its edge, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from bff_core import Hardening
from bff_core.hardening.nesting import json_fault

from .served import Served, served, statuses

HOST = b"Host: 127.0.0.1\r\n"
SMALL = Hardening(
    max_headers=10, max_header_bytes=1024, max_path=100, max_json_depth=5, max_json_members=10, body_timeout=0.2
)


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Served]:
    async with served(hardening=SMALL, max_body=1000, max_query=200) as running:
        yield running


def post(path: str, body: bytes, kind: bytes = b"application/json", *more: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in more)
    return b"POST %s HTTP/1.1\r\n%sX-Name: ada\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (
        path.encode(),
        HOST,
        kind,
        lines,
        len(body),
        body,
    )


def chunked(path: str, *chunks: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"POST %s HTTP/1.1\r\n%sX-Name: ada\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % (
        path.encode(),
        HOST,
        kind,
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def lines(count: int, size: int = 1) -> bytes:
    return b"".join(b"X-%d: %s\r\n" % (index, b"a" * size) for index in range(count))


REQUESTS = {
    "as many headers as may be": (b"GET /things/a HTTP/1.1\r\n" + HOST + lines(9) + b"\r\n", 200),
    "one header too many": (b"GET /things/a HTTP/1.1\r\n" + HOST + lines(10) + b"\r\n", 431),
    "the same header too often": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 10 + b"\r\n", 431),
    "headers of the largest size": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1010 + b"\r\n\r\n", 200),
    "headers that are too large": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1011 + b"\r\n\r\n", 431),
    "one header in large pieces": (
        b"GET /things/a HTTP/1.1\r\n" + HOST + (b"X: " + b"a" * 205 + b"\r\n") * 5 + b"\r\n",
        431,
    ),
    "a head of ten megabytes": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 10_000_000, 431),
    "a head without end": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 100_000, 431),
    "the longest path": (b"GET /things/" + b"a" * 92 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "a path that is too long": (b"GET /things/" + b"a" * 93 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "the longest query": (b"GET /things/a?q=" + b"a" * 198 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "a query that is too long": (b"GET /things/a?q=" + b"a" * 199 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "the most fields": (b"GET /things/a?" + b"a&" * 99 + b"a HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "one field too many": (b"GET /things/a?" + b"&" * 100 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an endless Accept": (b"GET /things/a HTTP/1.1\r\n" + HOST + b"Accept: " + b"a" * 1025 + b"\r\n\r\n", 431),
    "a method there is not": (b"TRACE /things/a HTTP/1.1\r\n" + HOST + b"\r\n", 405),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_heads(edge: Served, name: str) -> None:
    """Just not too much passes, a bit more is refused."""
    request, status = REQUESTS[name]
    answer = await edge.say(request)
    assert statuses(answer) == [status]
    if status != 200:
        assert b"application/problem+json" in answer


BODY = b'{"name":"%s"}'
BODIES = {
    "the largest": (post("/things", BODY % (b"a" * 989)), 200),
    "too large": (post("/things", BODY % (b"a" * 990)), 413),
    "too large, in chunks": (chunked("/things", *[b"a" * 100] * 11), 413),
    "the largest, in chunks": (chunked("/things", b'{"name":"', b"a" * 989, b'"}'), 200),
    "too large, plain route": (post("/plain", b"a" * 1001, b"application/octet-stream"), 413),
    "too large, in chunks, plain route": (chunked("/plain", *[b"a" * 100] * 11, kind=b"text/plain"), 413),
    "too large, model of a plain route": (post("/model", BODY % (b"a" * 990)), 413),
    "the largest, plain route": (post("/plain", b"a" * 1000, b"application/octet-stream"), 200),
    "deepest": (post("/things", b'{"items":[[[[]]]]}'), 200),
    "too deep": (post("/things", b'{"items":[[[[[]]]]]}'), 400),
    "too deep, in chunks": (chunked("/things", b'{"items":[[', b"[[", b"[]]]]]}"), 400),
    "too deep, plain route": (post("/model", b'{"items":[[[[[]]]]]}'), 400),
    "not deep, but with brackets in a text": (post("/things", b'{"name":"[[[[[[[[\\"[[[[["}'), 200),
    "as many members as may be": (post("/things", b'{"items":[1,2,3,4,5,6,7,8,9,0]}'), 200),
    "too many members": (post("/things", b'{"items":[1,2,3,4,5,6,7,8,9,0,1]}'), 400),
    "too many members, plain route": (post("/model", b'{"items":[1,2,3,4,5,6,7,8,9,0,1]}'), 400),
    "commas in a text": (post("/things", b'{"name":",,,,,,,,,,,,,,,"}'), 200),
    "what passes through has its own cap": (post("/pass/a", b"a" * 5000, b"application/json"), 200),
    "too large to pass through": (post("/pass/a", b"a" * 5001, b"application/json"), 413),
    "no type": (b"POST /things HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\n{}", 415),
    "no type, plain route": (b"POST /plain HTTP/1.1\r\n" + HOST + b"X-Name: a\r\nContent-Length: 2\r\n\r\n{}", 415),
    "a type that is none": (post("/things", b"{}", b"json"), 415),
    "a form's type": (post("/things", b"{}", b"application/x-www-form-urlencoded"), 415),
    "a type that needs no preflight": (post("/things", b"{}", b"text/plain"), 415),
    "JSON in UTF-16": (post("/things", b"{}", b"application/json; charset=utf-16"), 415),
    "JSON that is UTF-16": (post("/model", '{"items":[]}'.encode("utf-16-le")), 415),
    "JSON that is UTF-16, by its mark": (post("/model", '\ufeff"\u2241"'.encode("utf-16-be")), 415),
    "JSON that is UTF-32": (post("/model", '{"items":[]}'.encode("utf-32-be")), 415),
    "JSON in UTF-8": (post("/things", b"{}", b'application/json; charset="UTF-8"'), 200),
    "another kind of JSON": (post("/things", b"{}", b"application/merge-patch+json"), 200),
    "a compressed body": (post("/things", b"{}", b"application/json", b"Content-Encoding: gzip"), 415),
    "two types": (post("/things", b"{}", b"application/json", b"Content-Type: text/plain"), 400),
    "no body": (b"POST /things HTTP/1.1\r\n" + HOST + b"\r\n", 415),
    "no body, plain route": (b"POST /plain HTTP/1.1\r\n" + HOST + b"X-Name: a\r\nContent-Length: 0\r\n\r\n", 200),
    "too large, but who is asking?": (b"POST /plain HTTP/1.1\r\n" + HOST + b"Content-Length: 9999\r\n\r\n", 401),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bodies(edge: Served, name: str) -> None:
    """Of pages and of plain routes."""
    request, status = BODIES[name]
    answer = await edge.say(request)
    assert statuses(answer) == [status], answer
    if status != 200:
        assert b"application/problem+json" in answer


@pytest.mark.parametrize("path", ["/things", "/plain", "/model"])
async def test_a_body_that_trickles(edge: Served, path: str) -> None:
    """408 when the time for all of it is over, however steadily it comes, and the connection is closed."""
    request = post(path, b'{"name": "' + b"a" * 50 + b'"}')
    answer = await edge.say(request[:-40], *[b"a"] * 20, pause=0.03, patience=3)
    assert statuses(answer) == [408], answer
    assert answer.endswith(b"<EOF>")
    assert b"within 0.2 seconds" in answer


async def test_a_body_that_nobody_reads() -> None:
    """A refused request may not keep its connection by never ending."""
    quick = Hardening(body_timeout=0.05)
    async with served(hardening=quick) as edge:
        answer = await edge.say(post("/plain", b"a" * 50).replace(b"X-Name: ada\r\n", b"")[:-10], patience=10)
        assert statuses(answer) == [401]
        assert answer.endswith(b"<EOF>")


async def test_heads_that_trickle() -> None:
    """Slowloris: a head must be whole in time, the first of a connection and every further one; one that never begins
    is not waited for."""
    async with served(hardening=Hardening(header_timeout=0.15)) as edge:
        first = await edge.say(b"GET /things/a HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 20, pause=0.03, patience=3)
        assert statuses(first) == [408]
        assert first.endswith(b"<EOF>")
        whole = b"GET /things/a HTTP/1.1\r\n" + HOST + b"\r\n"
        second = await edge.say(whole, b"GET /thi", *[b"a"] * 20, pause=0.03, patience=3)
        assert statuses(second) == [200, 408]
        assert second.endswith(b"<EOF>")
        assert await edge.say(b"", patience=3) == b"<EOF>"
        # Line ends between requests are allowed, and keep no connection; uvicorn's own timer takes five seconds.
        stray = await edge.say(whole, *[b"\r\n"] * 3, pause=0.05, patience=8)
        assert statuses(stray) == [200]
        assert stray.endswith(b"<EOF>")


async def test_patience_with_the_patient() -> None:
    """Who is done with asking is not timed any more, however slow the answer; nor is an idle connection cut short."""
    async with served(hardening=Hardening(header_timeout=0.05, body_timeout=0.05)) as edge:
        whole = b"GET /things/a HTTP/1.1\r\n" + HOST + b"\r\n"
        answer = await edge.say(whole, whole, whole, pause=0.15)
        assert statuses(answer) == [200, 200, 200]
        assert not answer.endswith(b"<EOF>")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", None),
        (json.dumps([[1, {"a": [2]}]]).encode(), None),
        (b'{"a":' * 5 + b"1" + b"}" * 5, None),
        (b'{"a":' * 6 + b"1" + b"}" * 6, "is nested deeper than 5 levels"),
        (b"[" * 100_000, "is nested deeper than 5 levels"),
        (b"[],[],[],[],[],[],[]", None),
        (b'["' + b"[" * 100 + b'"]', None),
        (b'["\\"' + b"[" * 100 + b'"]', None),
        (b'["\\\\",' + b"[" * 100, "is nested deeper than 5 levels"),
        (b'"' + b'\\"[' * 100_000, None),
        (b"[" + b"1," * 9 + b"1]", None),
        (b"[" + b"1," * 10 + b"1]", "has more than 10 members"),
        (b'["' + b"," * 50 + b'"]', None),
    ],
)
def test_json(body: bytes, fault: str | None) -> None:
    """Brackets and commas count outside texts alone."""
    assert json_fault(body, 5, 10) == fault


LONG = b"GET /long HTTP/1.1\r\n" + HOST


@pytest.mark.parametrize(
    "request_",
    [LONG + b"\r\n", LONG + b"\r\n" + LONG + b"\r\n", LONG + b"Connection: close\r\n\r\n"],
    ids=["one request", "another behind it", "its last request"],
)
async def test_a_client_that_reads_nothing_is_let_go(request_: bytes) -> None:
    async with served(write_timeout=0.1) as edge:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", edge.port))
            client.send(request_)
            async with asyncio.timeout(10):
                while not edge.connections:
                    await asyncio.sleep(0.01)
                while edge.connections:
                    await asyncio.sleep(0.01)


async def test_a_client_that_reads_slowly_gets_everything() -> None:
    async with served(write_timeout=0.5) as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1024)
        writer.write(LONG + b"Connection: close\r\n\r\n")
        size = 0
        while piece := await reader.read(1_000_000):
            size += len(piece)
            await asyncio.sleep(0.0005)
        assert size > 8_000_000
        writer.close()


async def test_who_leaves_while_we_read_is_no_error_of_ours() -> None:
    head = b"POST %s HTTP/1.1\r\n" + HOST + b"X-Name: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    async with served() as edge:
        for path in (b"/plain", b"/model"):
            await edge.say(head % path, b"{", pause=0.02, patience=0.02)
        statuses = edge.app.operations.gateway.other.statuses
        async with asyncio.timeout(10):
            while sum(statuses.values()) < 2:
                await asyncio.sleep(0.01)
    assert statuses == {499: 2}
