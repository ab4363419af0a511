"""What every server must be understood in, as one table; see servers/app.py for what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from bff_core.errors import BadResponse, ConnectionLost
from bff_core.wire import Http1Wire, WireResponse
from bff_core.wire.decode import CODINGS

from .certificates import trusting
from .others import Others
from .raw import Call, Make, fetch, settled

__all__ = ["CASES", "ask", "table"]

MB = 1_000_000
EARLY = "sends no informational answers"
TRAILERS = "sends no trailers"
CLOSE = "always frames its answers"

Test = Callable[[Http1Wire], Awaitable[None]]


@dataclass
class Case:
    test: Test
    without: dict[str, str]
    options: dict[str, Any]


CASES: dict[str, Case] = {}


def case(without: dict[str, str] | None = None, **options: Any) -> Callable[[Test], Test]:
    """Adds to the table; ``without`` says which servers cannot do it, and why; ``options`` are the wire's."""

    def add(test: Test) -> Test:
        CASES[test.__name__] = Case(test, without or {}, options)
        return test

    return add


def content(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


async def pieces(count: int, size: int = 65536) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield content(size)


async def taken(wire: Http1Wire) -> int:
    return int((await fetch(wire, target="/sent")).body)


@case()
async def sizes(wire: Http1Wire) -> None:
    for size in (0, 5, 100_000, 10 * MB, 5):
        response = await fetch(wire, target=f"/body/{size}", timeout=20)
        assert response.body == content(size)
        assert response.header(b"content-length") == b"%d" % size
    assert len(wire._pool._open) == 1


@case()
async def streamed(wire: Http1Wire) -> None:
    for _ in range(2):
        digest = hashlib.sha256()
        async with wire.stream("GET", "/body/10000000", b"", b"", 20) as answer:
            async for piece in answer:
                digest.update(piece)
            assert answer.complete
        assert digest.digest() == hashlib.sha256(content(10 * MB)).digest()
    assert len(wire._pool._open) == 1


@case()
async def chunked(wire: Http1Wire) -> None:
    for size in (5, 100_000, 5):
        response = await fetch(wire, target=f"/chunked/{size}")
        assert response.body == content(size)
        assert response.header(b"transfer-encoding") == b"chunked"
    assert len(wire._pool._open) == 1


@case(without={"httptools": TRAILERS, "h11": TRAILERS, "nginx": TRAILERS})
async def trailers(wire: Http1Wire) -> None:
    for _ in range(2):
        response = await fetch(wire, target="/trailers", headers=b"te: trailers\r\n")
        assert response.body == b"hello"
        assert response.header(b"x-sum") is None
    assert len(wire._pool._open) == 1


@case(without={"httptools": CLOSE, "h11": CLOSE})
async def until_close(wire: Http1Wire) -> None:
    for size in (5, 100_000):
        response = await fetch(wire, target=f"/until-close/{size}")
        assert response.body == content(size)
        assert response.header(b"transfer-encoding") is None
        assert response.header(b"content-length") is None
        assert not wire._pool._open


@case()
async def head(wire: Http1Wire) -> None:
    for target in ("/body/5", "/body/10000000", "/chunked/5", "/body/0"):
        assert (await fetch(wire, "HEAD", target)).body == b""
        assert (await fetch(wire, target="/body/5")).body == content(5)
    assert len(wire._pool._open) == 1


@case()
async def no_content(wire: Http1Wire) -> None:
    for status in (204, 304, 204):
        response = await fetch(wire, target=f"/status/{status}")
        assert (response.status, response.body) == (status, b"")
    assert len(wire._pool._open) == 1


@case(without={"httptools": EARLY, "h11": EARLY, "nginx": EARLY})
async def early_hints(wire: Http1Wire) -> None:
    for _ in range(2):
        assert (await fetch(wire, target="/early")).body == b"hello"
    assert len(wire._pool._open) == 1


@case()
async def expect_continue(wire: Http1Wire) -> None:
    for size in (5, 100_000):
        response = await fetch(wire, "POST", "/echo", headers=b"expect: 100-continue\r\n", body=content(size))
        assert (response.status, response.body) == (200, content(size))


@case()
async def bodies(wire: Http1Wire) -> None:
    for size in (0, 5, 300_000):
        assert (await fetch(wire, "POST", "/echo", body=content(size))).body == content(size)
        digest = hashlib.sha256(content(size)).hexdigest().encode()
        assert (await fetch(wire, "PUT", "/hash", body=content(size))).body == digest
    assert len(wire._pool._open) == 1


@case()
async def streamed_bodies(wire: Http1Wire) -> None:
    digest = hashlib.sha256(content(65536) * 150).hexdigest().encode()
    for length in (None, 150 * 65536):
        async with wire.stream("POST", "/hash", b"", pieces(150), 20, length=length) as answer:
            assert b"".join([piece async for piece in answer]) == digest
    async with wire.stream("POST", "/echo", b"", pieces(16), 20) as answer:
        assert b"".join([piece async for piece in answer]) == content(65536) * 16
    assert len(wire._pool._open) == 1


@case()
async def one_connection_for_many(wire: Http1Wire) -> None:
    counts = [int((await fetch(wire, target="/count")).body) for _ in range(20)]
    # Some servers count by the client's port, which may have been an earlier one's.
    assert counts == list(range(counts[0], counts[0] + 20))


@case()
async def closed_while_idle(wire: Http1Wire) -> None:
    """The next request is written before the wire can have seen that the server has closed the connection."""
    for method, again in (("GET", True), ("PUT", True), ("POST", False)):
        calls: list[Call] = []

        def at_once(response: WireResponse | None, _: object, method: str = method, calls: list[Call] = calls) -> None:
            assert response is not None
            assert response.body == b"bye"
            (connection,) = wire._pool._idle
            assert connection._transport is not None
            sock = connection._transport.get_extra_info("socket")
            assert select.select([sock], [], [], 10)[0]
            calls.append(Call(wire, method, "/hash"))

        wire.send("GET", "/bye", b"", b"", 10, at_once)
        await settled(lambda calls=calls: bool(calls))
        if again:
            assert (await calls[0].future).status == 200
        else:
            with pytest.raises(ConnectionLost):
                await calls[0].future


@case()
async def content_codings(wire: Http1Wire) -> None:
    done = []
    for name in sorted(CODINGS.keys() - {b"x-gzip"}):
        accept = b"accept-encoding: %b\r\n" % name
        response = await fetch(wire, target=f"/coded/{name.decode()}", headers=accept)
        if response.status == 200:
            assert response.body == content(100_000)
            assert response.header(b"content-encoding") is None
            done.append(name)
    assert b"gzip" in done


@case(max_connections=4)
async def many_at_once(wire: Http1Wire) -> None:
    async def one(number: int) -> None:
        size = 7 + number % 61 * 997
        kind = ("body", "chunked")[number % 2]
        body = (await fetch(wire, target=f"/{kind}/{size}", timeout=20)).body
        assert hashlib.sha256(body).digest() == hashlib.sha256(content(size)).digest()

    await asyncio.gather(*(one(number) for number in range(200)))
    assert len(wire._pool._open) <= 4


@case()
async def a_slow_reader(wire: Http1Wire) -> None:
    async with wire.stream("GET", "/endless", b"", b"", 20) as answer:
        total, before, now = len(await answer.read()), -1, -2
        while now != before:
            before = now
            await asyncio.sleep(0.05)
            now = await taken(wire)
        assert now < 48 * 1024 * 1024  # the rest is in no buffer but the server's own
        assert answer._buffered <= 768 * 1024
        async for piece in answer:
            total += len(piece)
        assert total == 1024 * 65536


@case(max_connections=4)
async def given_up_in_the_middle(wire: Http1Wire) -> None:
    async def one(number: int) -> None:
        target = ("/body/10000000", "/endless", "/chunked/100000")[number % 3]
        async with wire.stream("GET", target, b"", b"", 20) as answer:
            for _ in range(number % 4):
                await answer.read()
            if number % 2:
                await asyncio.sleep(10)

    tasks = [asyncio.ensure_future(one(number)) for number in range(24)]
    for number, task in enumerate(tasks):
        await asyncio.sleep(0.001 * (number % 3))
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    for number in range(8):
        call = Call(wire, target="/body/10000000")
        await asyncio.sleep(0.001 * number)
        before = call.ends
        call.exchange.abandon()
        await asyncio.sleep(0)
        assert call.ends == before
    assert wire.in_flight == 0
    assert len(wire._pool._open) == len(wire._pool._idle)
    for _ in range(8):
        assert (await fetch(wire, target="/body/1000")).body == content(1000)


@case()
async def heads(wire: Http1Wire) -> None:
    response = await fetch(wire, target="/headers/1/8000")
    assert response.header(b"x-0") == b"y" * 8000
    response = await fetch(wire, target="/headers/100/10")
    assert [response.header(b"x-%d" % number) for number in range(100)] == [b"y" * 10] * 100
    for too_much in ("/headers/140/1", "/headers/9/8000"):
        with pytest.raises(BadResponse):
            await fetch(wire, target=too_much)
        assert not wire._pool._open
    assert (await fetch(wire, target="/body/5")).body == content(5)


@case(max_body=99_999)
async def bodies_over_the_cap(wire: Http1Wire) -> None:
    for target in ("/body/100000", "/chunked/100000", "/coded/gzip"):
        with pytest.raises(BadResponse):
            await fetch(wire, target=target, headers=b"accept-encoding: gzip\r\n")
        assert not wire._pool._open
    assert (await fetch(wire, target="/body/5")).body == content(5)


def table(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Each of ``kinds`` with each case that such a server can do."""
    return [(kind, name) for kind in kinds for name, one in CASES.items() if kind.partition(" ")[0] not in one.without]


async def ask(make: Make, others: Others, kind: str, name: str) -> None:
    """One case against one server."""
    origin = others.origin(kind)
    options = {"max_body": 11 * MB, **CASES[name].options}
    if origin.startswith("https"):
        options["ssl_context"] = trusting(others.authority)
    wire = make(origin, **options)
    await CASES[name].test(wire)
    await settled(lambda: wire.in_flight == 0)
