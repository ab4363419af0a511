"""TLS: verified, or not connected."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from bff_core.errors import ConnectFailed, ConnectionLost

from .certificates import DAY, NOW, Authority, trusting
from .raw import Peer, RawServer, answers, fetch, ok, settled


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def serving(file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_that_is_right(make, serve, authority: Authority, host: str) -> None:
    names: list[str | None] = []
    context = serving(authority.issue("localhost"))
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    chosen: list[str | None] = []

    async def script(peer: Peer) -> None:
        chosen.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answers(ok(b"x" * 300_000))(peer)

    server = await serve(script, context=context)
    wire = make(f"https://{host}:{server.port}", ssl_context=trusting(authority))
    for _ in range(3):
        assert (await fetch(wire)).body == b"x" * 300_000
    assert len(server.peers) == 1
    assert chosen == ["http/1.1"]
    assert names == ["localhost" if host == "localhost" else None]
    async with wire.stream("GET", "/", b"", b"", 5) as answer:
        assert sum([len(piece) async for piece in answer]) == 300_000


@pytest.mark.parametrize("kind", ["unknown authority", "expired", "other host", "not tls"])
async def test_a_certificate_that_is_wrong(make, serve, authority: Authority, kind: str) -> None:
    file = {"expired": lambda: authority.issue("localhost", NOW - DAY), "other host": lambda: authority.issue("shop")}
    context = None if kind == "not tls" else serving(file.get(kind, lambda: authority.issue("localhost"))())
    server = await serve(answers(ok()), context=context)
    trusted = None if kind == "unknown authority" else trusting(authority)
    options = {"connect_timeout": 0.2} if kind == "not tls" else {}  # it waits for the end of a request
    wire = make(f"https://localhost:{server.port}", ssl_context=trusted, **options)
    with pytest.raises(ConnectFailed):
        await fetch(wire)
    assert not server.requests
    assert not wire._pool._open


async def test_an_address_of_somebody_else(make, serve, authority: Authority) -> None:
    server = await serve(answers(ok()), context=serving(authority.issue("shop.example")))
    origin, trusted = f"https://127.0.0.1:{server.port}", trusting(authority)
    assert (await fetch(make(origin, ssl_context=trusted, authority="shop.example"))).body == b"hello"
    assert b"host: shop.example\r\n" in server.requests[0]
    with pytest.raises(ConnectFailed):
        await fetch(make(origin, ssl_context=trusted, authority="other.example"))


async def test_client_certificates(make, serve, authority: Authority) -> None:
    context = serving(authority.issue("localhost"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []

    async def script(peer: Peer) -> None:
        seen.append(peer.writer.get_extra_info("peercert")["subject"][0][0][1])
        await answers(ok())(peer)

    server = await serve(script, context=context)
    mine = trusting(authority)
    mine.load_cert_chain(authority.issue("gateway"))
    assert (await fetch(make(f"https://localhost:{server.port}", ssl_context=mine))).body == b"hello"
    assert seen == ["gateway"]
    # With TLS 1.3 the client learns after the handshake that its certificate is missed.
    with pytest.raises((ConnectFailed, ConnectionLost)):
        await fetch(make(f"https://localhost:{server.port}", ssl_context=trusting(authority)))
    assert seen == ["gateway"]


async def test_a_handshake_that_never_ends_is_bounded_and_may_be_given_up(make, serve, authority: Authority) -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read(-1)

    server: RawServer = await serve(silent)
    wire = make(f"https://localhost:{server.port}", ssl_context=trusting(authority), connect_timeout=0.1)
    with pytest.raises(ConnectFailed):
        await fetch(wire)
    wire = make(f"https://localhost:{server.port}", ssl_context=trusting(authority), connect_timeout=5)
    exchange = wire.send("GET", "/", b"", b"", 5, lambda *_: None)
    await settled(lambda: server.open == 1)
    exchange.abandon()
    assert not wire._pool._dials
    await settled(lambda: server.open == 0)


@pytest.mark.parametrize("framing", [b"content-length: 9\r\n", b"transfer-encoding: chunked\r\n", b""])
async def test_a_body_cut_off_without_tls_saying_so_is_not_whole(
    make, serve, authority: Authority, framing: bytes
) -> None:
    if not framing and not type(asyncio.get_running_loop()).__module__.startswith("uvloop"):
        pytest.skip("asyncio's TLS does not tell a cut from an end; uvloop's does")

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n3\r\nhel")
        await asyncio.sleep(0.02)
        peer.writer.transport.abort()  # which sends no close_notify

    server = await serve(script, context=serving(authority.issue("localhost")))
    with pytest.raises(ConnectionLost):
        await fetch(make(f"https://localhost:{server.port}", ssl_context=trusting(authority)))


async def test_a_body_that_ends_with_the_connection(make, serve, authority: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhello")

    server = await serve(script, context=serving(authority.issue("localhost")))
    assert (await fetch(make(f"https://localhost:{server.port}", ssl_context=trusting(authority)))).body == b"hello"


async def test_the_second_address_is_tried_while_the_first_is_silent(make, serve, monkeypatch) -> None:
    from bff_core.wire import connect

    server = await serve(answers(ok()))
    real = connect._connect
    tried: list[str] = []

    async def some(loop: asyncio.AbstractEventLoop, address: Any) -> socket.socket:
        tried.append(address[1][0])
        if address[1][0] == "::1":
            await asyncio.Event().wait()
        if address[1][0] == "127.0.0.9":
            raise ConnectionRefusedError
        return await real(loop, address)

    async def resolve(*_: Any) -> list[Any]:
        return [(socket.AF_INET6, ("::1", server.port)), (socket.AF_INET, ("127.0.0.9", server.port)),
                (socket.AF_INET, ("127.0.0.1", server.port))]  # fmt: skip

    monkeypatch.setattr(connect, "_connect", some)
    monkeypatch.setattr(connect, "_resolve", resolve)
    monkeypatch.setattr(connect, "_STAGGER", 0.01)
    assert (await fetch(make("http://shop"))).body == b"hello"
    assert tried == ["::1", "127.0.0.9", "127.0.0.1"]


async def test_families_take_turns(monkeypatch) -> None:
    from bff_core.wire import connect

    six, four = socket.AF_INET6, socket.AF_INET

    class Loop:
        async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
            return [(f, 1, 6, "", (a, 1)) for f, a in [(six, "a"), (six, "b"), (four, "c"), (four, "d"), (four, "e")]]

    found = await connect._resolve(Loop(), "shop", 1)  # type: ignore[arg-type]
    assert [where[0] for _, where in found] == ["a", "c", "b", "d", "e"]
