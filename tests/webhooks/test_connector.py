"""The SSRF table: nothing but public addresses is ever connected to, whatever a URL, a resolver or a server says."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bff_core.webhooks.connector import Connector
from bff_core.wire import connect as dialling
from tests.wire.raw import Peer, RawServer, answers, ok
from tests.wire.test_tls import DAY, NOW, Authority, serving, trusting

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
HEADERS = b"content-type: application/json\r\nwebhook-id: msg_1\r\n"


class Resolver:
    """Gives out ``answers`` in turn, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def connector() -> AsyncIterator[Callable[..., Connector]]:
    made: list[Connector] = []

    def make(**options: Any) -> Connector:
        made.append(Connector(**{"allow": LOOPBACK, "timeout": 5.0, **options}))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    running = []

    async def start(script: Any, **options: Any) -> RawServer:
        server = RawServer(script)
        manager = server.run(**options)
        await manager.__aenter__()
        running.append(manager)
        return server

    yield start
    for manager in running:
        await manager.__aexit__(None, None, None)


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address to which a connection is begun."""
    seen: list[str] = []
    real = dialling._connect

    async def spy(loop: Any, address: Any) -> Any:
        seen.append(address[1][0])
        return await real(loop, address)

    monkeypatch.setattr(dialling, "_connect", spy)
    return seen


@pytest.fixture(autouse=True)
def no_public_address_is_really_dialled(monkeypatch: pytest.MonkeyPatch, dialled: list[str]) -> None:
    spying = dialling._connect

    async def only_here(loop: Any, address: Any) -> Any:
        if not address[1][0].startswith(("127.", "::1")):
            dialled.append(address[1][0])
            raise ConnectionRefusedError
        return await spying(loop, address)

    monkeypatch.setattr(dialling, "_connect", only_here)


SPELLINGS = ["2130706433", "0177.0.0.1", "127.1", "0x7f000001", "localhost", "LOCALHOST."]


@pytest.mark.anyio
@pytest.mark.parametrize("host", [*SPELLINGS, "127.0.0.1", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]"])
async def test_loopback_however_it_is_written(connector, dialled: list[str], host: str) -> None:
    assert (await connector(allow=()).post("ep", f"https://{host}/", HEADERS, b"{}")).status is None
    assert dialled == []


@pytest.mark.anyio
@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_the_rules_for_urls_are_not_what_holds(connector, dialled: list[str], monkeypatch, spelling: str) -> None:
    """Were a spelling to slip through them, what it resolves to would be refused."""
    from bff_core.webhooks import connector as module
    from bff_core.webhooks.target import Target

    host = spelling.lower().rstrip(".")
    monkeypatch.setattr(module, "parse_url", lambda _: Target("https", host, 443, host, "/"))
    outcome = await connector(allow=()).post("ep", "https://x/", HEADERS, b"{}")
    assert outcome.error == "not_reachable"
    assert dialled == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254",
        "100.64.0.1", "10.0.0.1", "192.168.0.1", "172.16.0.1", "0.0.0.0", "fe80::1%eth0", "224.0.0.1", "nonsense",
    ],
)  # fmt: skip
async def test_names_that_resolve_to_what_is_not_public(connector, dialled: list[str], address: str) -> None:
    outcome = await connector(allow=(), resolve=Resolver([address])).post("ep", "https://a.example/", HEADERS, b"{}")
    assert (outcome.status, outcome.error) == (None, "not_reachable")
    assert dialled == []


@pytest.mark.anyio
@pytest.mark.parametrize("addresses", [["8.8.8.8", "10.0.0.1"], ["2606:4700::1111", "::1", "8.8.8.8"]])
async def test_mixed_records(connector, dialled: list[str], addresses: list[str]) -> None:
    """One address that is not public spoils the others."""
    outcome = await connector(allow=(), resolve=Resolver(addresses)).post("ep", "https://a.example/", HEADERS, b"{}")
    assert outcome.error == "not_reachable"
    assert dialled == []


@pytest.mark.anyio
async def test_a_public_address_is_connected_to(connector, dialled: list[str]) -> None:
    """The counterpart: it is the addresses that decide."""
    made = connector(allow=(), resolve=Resolver(["8.8.8.8", "2606:4700::1111"]))
    assert (await made.post("ep", "https://a.example/", HEADERS, b"{}")).error == "not_reachable"
    assert dialled == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.anyio
async def test_rebinding(connector, serve, dialled: list[str], monkeypatch) -> None:
    """What was checked is what is connected to; nobody looks the name up again in between. A later answer is checked
    anew."""
    looked_up: list[Any] = []
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: looked_up.append(a) or real(*a, **k))
    server = await serve(answers(ok()))
    now = [0.0]
    resolver = Resolver(["127.0.0.1"], ["10.0.0.1"])
    made = connector(resolve=resolver, clock=lambda: now[0])
    url = f"http://a.example:{server.port}/"
    for _ in range(3):
        assert (await made.post("ep", url, HEADERS, b"{}")).status == 200
    assert resolver.asked == [("a.example", server.port)]
    now[0] = 31.0
    assert (await made.post("ep", url, HEADERS, b"{}")).error == "not_reachable"
    assert dialled == ["127.0.0.1"]
    assert looked_up == []
    assert f"host: a.example:{server.port}".encode() in server.requests[0]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(connector, serve, status: int) -> None:
    inner = await serve(answers(ok()))
    location = f"location: http://127.0.0.1:{inner.port}/\r\n".encode()
    head = b"HTTP/1.1 %d Moved\r\ncontent-length: 0\r\n%b\r\n" % (status, location)
    outer = await serve(answers(head))
    outcome = await connector().post("ep", f"http://127.0.0.1:{outer.port}/", HEADERS, b"{}")
    assert outcome.status == status
    assert not outcome.ok
    assert not inner.requests


@pytest.mark.anyio
async def test_userinfo(connector, serve, dialled: list[str]) -> None:
    server = await serve(answers(ok()))
    outcome = await connector().post("ep", f"http://a.example@127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert outcome.error == "not_sendable"
    assert dialled == []


@pytest.mark.anyio
async def test_the_proxies_of_the_environment(connector, serve, monkeypatch) -> None:
    """They would resolve the name themselves."""
    proxy, server = await serve(answers(ok())), await serve(answers(ok()))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
    assert (await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")).ok
    assert not proxy.requests
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_without_tls_only_where_it_is_allowed_by_name(connector, dialled: list[str]) -> None:
    made = connector(resolve=Resolver(["8.8.8.8"]))
    assert (await made.post("ep", "http://a.example/", HEADERS, b"{}")).error == "not_reachable"
    assert dialled == []


@pytest.mark.anyio
async def test_tls_is_verified_against_the_name(connector, serve, tmp_path: Path) -> None:
    """Not against the address that is connected to."""
    authority = Authority(tmp_path)
    right = await serve(answers(ok()), context=serving(authority.issue("a.example")))
    old = await serve(answers(ok()), context=serving(authority.issue("a.example", NOW - DAY)))
    made = connector(resolve=Resolver(["127.0.0.1"]), ssl_context=trusting(authority))
    assert (await made.post("ep", f"https://a.example:{right.port}/", HEADERS, b"{}")).ok
    other = await made.post("ep", f"https://b.example:{right.port}/", HEADERS, b"{}")
    assert (other.status, other.error) == (None, "tls_failed")
    assert (await made.post("ep", f"https://a.example:{old.port}/", HEADERS, b"{}")).error == "tls_failed"
    untrusting = connector(resolve=Resolver(["127.0.0.1"]))
    assert (await untrusting.post("ep", f"https://a.example:{right.port}/", HEADERS, b"{}")).error == "tls_failed"
    assert len(right.requests) == 1


@pytest.mark.anyio
async def test_the_next_address_is_tried_when_nobody_listens_at_the_first(connector, serve, dialled) -> None:
    server = await serve(answers(ok()))
    made = connector(resolve=Resolver(["127.0.0.9", "127.0.0.1"]))
    for _ in range(2):
        assert (await made.post("ep", f"http://a.example:{server.port}/", HEADERS, b"{}")).ok
    assert dialled == ["127.0.0.9", "127.0.0.1"]


def scripted(*parts: bytes, pause: float = 0.0, hold: bool = False) -> Any:
    async def script(peer: Peer) -> None:
        await peer.request()
        for part in parts:
            peer.writer.write(part)
            await peer.writer.drain()
            if pause:
                await asyncio.sleep(pause)
        if hold:
            await peer.reader.read()

    return script


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.anyio
async def test_a_huge_body(connector, serve) -> None:
    """The status has decided; of the body 16 KiB are read, the rest is not taken."""
    sent = []

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(HEAD + b"content-length: 1000000000\r\n\r\n")
        for _ in range(1000):
            peer.writer.write(b"x" * 1_000_000)
            await peer.writer.drain()
            sent.append(1)

    server = await serve(script)
    outcome = await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert outcome.ok
    assert len(outcome.body) == 16 * 1024
    assert len(sent) < 100


@pytest.mark.anyio
async def test_a_gzip_bomb_is_not_unpacked(connector, serve) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    server = await serve(scripted(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb))
    outcome = await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert outcome.ok
    assert outcome.body == bomb[: 16 * 1024]


@pytest.mark.anyio
@pytest.mark.parametrize("drip", ["status", "headers"])
async def test_a_slow_drip_of_the_head(connector, serve, drip: str) -> None:
    """However often a byte comes, an attempt ends in time."""
    begin = b"HTTP/1.1 200 OK" if drip == "status" else HEAD + b"x: "
    server = await serve(scripted(begin, *[b"y"] * 1000, pause=0.02))
    outcome = await connector(timeout=0.3).post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert (outcome.status, outcome.error) == (None, "timeout")


@pytest.mark.anyio
async def test_a_slow_drip_of_the_body(connector, serve, monkeypatch) -> None:
    monkeypatch.setattr("bff_core.webhooks.connector.DRAIN_SECONDS", 0.8)
    server = await serve(scripted(HEAD + b"content-length: 1000\r\n\r\n", *[b"y"] * 1000, pause=0.02))
    outcome = await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert outcome.ok
    assert 0 < len(outcome.body) < 100


@pytest.mark.anyio
async def test_a_server_that_is_silent(connector, serve) -> None:
    server = await serve(scripted(hold=True))
    outcome = await connector(timeout=0.1).post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert outcome.error == "timeout"


@pytest.mark.anyio
async def test_a_resolver_that_is_silent(connector) -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    assert (await connector(timeout=0.05, resolve=never).post("ep", "https://a.example/", HEADERS, b"")).error == (
        "timeout"
    )


@pytest.mark.anyio
async def test_a_name_that_is_not_there_looks_like_one_that_is_not_public(connector) -> None:
    """Otherwise endpoints could be used to look into our own names."""

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror

    missing = await connector(resolve=unknown).post("ep", "https://a.example/", HEADERS, b"")
    hidden = await connector(resolve=Resolver(["10.0.0.1"])).post("ep", "https://a.example/", HEADERS, b"")
    assert missing.error == hidden.error == "not_reachable"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"nonsense\r\n\r\n", "bad_response"),
        (b"", "connection_lost"),
        (HEAD[:7], "connection_lost"),
        (HEAD + b"x: a\rb\r\n\r\n", "bad_response"),
        (HEAD + b"x: " + b"y" * 200_000 + b"\r\n\r\n", "bad_response"),
        (HEAD + b"".join(b"x%d: y\r\n" % n for n in range(500)) + b"\r\n", "bad_response"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad_response"),
    ],
)
async def test_answers_that_are_none(connector, serve, answer: bytes, error: str) -> None:
    server = await serve(scripted(answer))
    outcome = await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert (outcome.status, outcome.error) == (None, error)


@pytest.mark.anyio
async def test_line_ends_in_our_own_headers_and_paths(connector, serve) -> None:
    server = await serve(answers(ok()))
    made = connector()
    url = f"http://127.0.0.1:{server.port}/"
    assert (await made.post("ep", url + "x\r\nx: y", HEADERS, b"{}")).error == "not_sendable"
    assert (await made.post("ep", url, b"x: y\r\n\r\nGET / HTTP/1.1\r\n", b"{}")).error == "not_sendable"
    assert (await made.post("ep", url, b"host: other\r\n", b"{}")).error == "not_sendable"
    assert not server.requests


@pytest.mark.anyio
async def test_endpoints_share_no_connections(connector, serve) -> None:
    """One that fills its own cannot hinder another at the same host."""
    server = await serve(scripted(hold=True))
    made = connector(timeout=0.2, connections=1)
    url = f"http://127.0.0.1:{server.port}/"
    await asyncio.gather(*(made.post(f"ep_{n}", url, HEADERS, b"{}") for n in range(5)))
    assert len(server.peers) == 5


@pytest.mark.anyio
async def test_retry_after_is_told(connector, serve) -> None:
    server = await serve(answers(b"HTTP/1.1 429 Slow Down\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n"))
    outcome = await connector().post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")
    assert (outcome.status, outcome.retry_after) == (429, 17.0)


@pytest.mark.anyio
async def test_connections_are_kept(connector, serve) -> None:
    server = await serve(answers(ok()))
    made = connector()
    for _ in range(5):
        assert (await made.post("ep", f"http://127.0.0.1:{server.port}/", HEADERS, b"{}")).body == b"hello"
    assert len(server.peers) == 1
