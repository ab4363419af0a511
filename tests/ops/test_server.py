"""The operations port over real sockets: what it answers, whom, and what happens around it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from bff_core import Bff, Settings, SettingsError
from bff_core.ops import exposition, server
from bff_core.ops.app import NO_EXTRA, WATCHERS, OperationsApp, is_loopback
from bff_core.ops.page import CSP, PAGE
from bff_core.ops.pulse import Pulse
from bff_core.server import Http1Protocol
from bff_core.telemetry import Event
from bff_core.testing import bff_client
from tests.ops.shop import KEY, make_gateway, play, visit


@pytest.fixture
def app() -> Bff:
    return make_gateway(play(), ops_port=0)


@pytest.fixture
async def public(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(app) as client:
        yield client


@pytest.fixture
async def ops(app: Bff, public: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=origin(app), timeout=5) as client:
        yield client


def origin(app: Bff) -> str:
    assert app.operations.server is not None
    assert app.operations.server.address is not None
    return f"http://127.0.0.1:{app.operations.server.address[1]}"


async def test_metrics_health_and_console(app: Bff, public: httpx.AsyncClient, ops: httpx.AsyncClient) -> None:
    """Every route, none of them to be kept by anybody."""
    await visit(public, "broken-1")
    for path in ("/metrics", "/health/live", "/health/ready", "/health/services", "/console", "/console/snapshot"):
        answer = await ops.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "server" not in answer.headers, path
    names = {family.name for family in parse_text((await ops.get("/metrics")).text)}
    assert "bff_requests" in names
    assert (await ops.get("/health/services")).json() == {
        "status": "ok",
        "services": {
            name: {"status": "ok", "circuit": "closed", "endpoints": 1, "able": 1} for name in ("catalog", "reviews")
        },
    }
    assert (await ops.get("/nothing")).status_code == 404
    assert (await ops.post("/console")).status_code == 405
    app.ready = False
    assert (await ops.get("/health/ready")).status_code == 503


async def test_nothing_of_it_is_on_the_public_port(public: httpx.AsyncClient) -> None:
    """Neither with a key nor without."""
    for path in ("/metrics", "/console", "/console/snapshot", "/console/stream", "/health/services"):
        assert (await public.get(path, headers={"x-api-key": KEY})).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9999", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:1", 200),
        ("127.8.8.8", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("192.0.2.1", 421),
        ("[2001:db8::1]", 421),
        ("", 421),
    ],
)
async def test_a_name_that_was_pointed_here_is_refused(ops: httpx.AsyncClient, host: str, status: int) -> None:
    """DNS rebinding: a page of evil.example whose name resolves to 127.0.0.1 sends its own name as Host."""
    for path in ("/metrics", "/console/snapshot"):
        assert (await ops.get(path, headers={"host": host})).status_code == status


async def test_two_hosts_and_none(app: Bff, ops: httpx.AsyncClient) -> None:
    """A request is not let in for one of its two hosts, nor for having none."""
    port = int(str(ops.base_url.port))
    for lines in ("host: localhost\r\nhost: evil.example\r\n", ""):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /metrics HTTP/1.0\r\n{lines}\r\n".encode())
        status = (await reader.readline()).split()[1]
        assert status in (b"400", b"421")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.1:8102", 200),
        ("[2001:db8::1]:8102", 200),
        ("127.0.0.1:8102", 200),
        ("localhost:8102", 200),
        ("web:8102", 200),
        ("evil.example.com:8102", 421),
        ("192.0.2.1.evil.example.com", 421),
        ("localhost.evil.example.com", 421),
        ("", 421),
    ],
)
async def test_nor_is_it_reached_by_one_elsewhere(app: Bff, host: str, status: int) -> None:
    """On any other address names of public DNS are refused: a browser near it would send one of those."""
    opened = OperationsApp(app.operations.gateway, Pulse(app.operations.gateway), "0.0.0.0")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(opened), base_url="http://x") as client:
        for path in ("/metrics", "/console/snapshot"):
            assert (await client.get(path, headers={"host": host})).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("web.monitoring.svc:8102", 200),
        ("web.monitoring.svc.cluster.local", 200),
        ("WEB.service.consul.", 200),
        ("bff.lan:8102", 200),
        ("web.default:8102", 200),
        ("a.shop.example.com", 200),
        ("web:8102", 200),
        ("web.other", 421),
        ("evil.example.com", 421),
        ("bff.lan.evil.example.com", 421),
        ("evil.example.com:80/.lan", 421),
        ("bff.lan:evil", 421),
    ],
)
async def test_names_that_scrapers_use(app: Bff, host: str, status: int) -> None:
    """Those of networks, and what the gateway is told it is called; ``*`` is for clients, who show credentials."""
    gateway = app.operations.gateway
    opened = OperationsApp(gateway, Pulse(gateway), "0.0.0.0", (), ["*", "web.default", "*.shop.example.com"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(opened), base_url="http://x") as client:
        assert (await client.get("/metrics", headers={"host": host})).status_code == status


async def test_the_gateways_names_are_its_operations_ports_too() -> None:
    app = make_gateway(play(), ops_port=0, ops_host="0.0.0.0", allowed_hosts=["web.default", "bff.test"])
    async with bff_client(app):
        async with httpx.AsyncClient(base_url=origin(app)) as client:
            answers = [await client.get("/metrics", headers={"host": host}) for host in ("web.default", "web.other")]
        assert [answer.status_code for answer in answers] == [200, 421]


async def test_who_opens_it_answers_for_who_reaches_it(app: Bff) -> None:
    """On another address than a loopback one, a scraper has a name."""
    opened = OperationsApp(app.operations.gateway, Pulse(app.operations.gateway), "0.0.0.0")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(opened), base_url="http://web.internal:8102") as client:
        assert (await client.get("/metrics")).status_code == 200
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("::")
    assert is_loopback("::1")


async def test_the_stream(app: Bff, public: httpx.AsyncClient, ops: httpx.AsyncClient) -> None:
    """A snapshot with the past and the graphs first, then ticks with what has changed."""
    await visit(public, "p1")
    async with ops.stream("GET", "/console/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = read_events(answer)
        name, snapshot = await anext(events)
        assert name == "snapshot"
        assert [service["name"] for service in snapshot["services"]] == ["catalog", "reviews"]
        assert snapshot["pages"][0]["graph"].startswith("<svg")
        assert [section["name"] for section in snapshot["pages"][0]["sections"]] == ["product", "reviews", "pair"]
        name, tick = await anext(events)
        assert name == "tick"
        assert "graph" not in tick["pages"][0]
        assert len(tick["services"][0]["points"]) == 1
        assert tick["totals"]["rate"] >= 0


async def read_events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


async def test_only_so_many_watch_and_all_are_let_go(app: Bff, ops: httpx.AsyncClient) -> None:
    """The seventeenth console is asked to come later; one that leaves makes room."""
    streams = [ops.stream("GET", "/console/stream") for _ in range(WATCHERS)]
    answers = [await stream.__aenter__() for stream in streams]
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        await anext(read_events(answer))
    refused = await ops.get("/console/stream")
    assert refused.status_code == 503
    for stream in streams:
        await stream.__aexit__(None, None, None)
    for _ in range(100):
        async with ops.stream("GET", "/console/stream") as again:
            if again.status_code == 200:
                break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("nobody made room")


async def test_who_says_nothing_shuts_nobody_out(app: Bff, public: httpx.AsyncClient, ops: httpx.AsyncClient) -> None:
    """Hundreds of connections without a request: probes and metrics are answered all the same."""
    assert app.operations.server is not None
    assert app.operations.server.address is not None
    silent = [await asyncio.open_connection(*app.operations.server.address) for _ in range(100)]
    for path in ("/health/live", "/metrics"):
        assert (await ops.get(path)).status_code == 200
    protocols = app.operations.server._server.server_state.connections  # type: ignore[union-attr]
    assert {type(protocol) for protocol in protocols} == {Http1Protocol}, "which ends them when they take too long"
    for _, writer in silent:
        writer.close()


async def test_an_open_stream_does_not_hold_up_the_end(app: Bff) -> None:
    """The gateway stops although a console watches, and its port is free."""
    async with bff_client(app):
        where = origin(app)
        client = httpx.AsyncClient(base_url=where, timeout=20)
        stream = client.stream("GET", "/console/stream")
        answer = await stream.__aenter__()
        events = read_events(answer)
        await anext(events)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(where.rpartition(":")[2]))) != 0
    assert len([event async for event in events]) <= 2
    await client.aclose()


async def test_a_taken_port_hinders_nobody_and_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two workers the second serves without; when the first is gone it gets the port."""
    monkeypatch.setattr(server, "AGAIN", 0.02)
    first = make_gateway(play(), ops_port=0)
    async with bff_client(first):
        where = origin(first)
        second = make_gateway(play(), ops_port=int(where.rpartition(":")[2]))
        second.title = "second"
        context = bff_client(second)
        client = await context.__aenter__()
        assert (await visit(client, "p1")).status_code == 200
        assert second.operations.server is not None
        assert second.operations.server.address is None
    for _ in range(200):
        if second.operations.server.address is not None:
            break
        await asyncio.sleep(0.02)
    async with httpx.AsyncClient() as outside:
        assert 'route="/products/{product_id}",status="200"} 1.0' in (await outside.get(f"{where}/metrics")).text
    await context.__aexit__(None, None, None)


async def test_without_the_extra(app: Bff, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway runs, the console too; /metrics says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    assert exposition.make_exposition(app.operations.gateway) is None
    async with bff_client(app), httpx.AsyncClient(base_url=origin(app)) as client:
        answer = await client.get("/metrics")
        assert (answer.status_code, answer.text) == (501, NO_EXTRA)
        assert (await client.get("/console/snapshot")).status_code == 200


async def test_no_port_no_server() -> None:
    """Off by default; `off` takes back a gateway's default, and the rest is refused at start-up."""
    app = make_gateway(play())
    async with bff_client(app):
        assert app.operations.server is None
    assert Settings.load(ops_port="off").ops_port is None
    assert Settings.load(ops_port="8102").ops_port == 8102
    for wrong in ("none of that", 70000, -1):
        with pytest.raises(SettingsError, match="ops_port"):
            Settings.load(ops_port=wrong)


async def test_limits_and_events_in_the_snapshot(app: Bff, public: httpx.AsyncClient, ops: httpx.AsyncClient) -> None:
    """Limits as declared; events come latest first, and what a client asked for in vain is not repeated."""
    app.events.emit(Event("OnRetry", "warning", "catalog", "Retry", "product", 1, detail="waits 3 ms"))
    app.events.emit(Event("OnMissing", "information", "catalog", "Batching", "products", detail="order-4711"))
    text = (await ops.get("/console/snapshot")).text
    snapshot = json.loads(text)
    assert snapshot["limits"] == [{"name": "two", "rule": "2/week", "denied": 0}]
    assert [event["name"] for event in snapshot["events"]] == ["OnMissing", "OnRetry"]
    assert "order-4711" not in text
    assert KEY not in text


async def test_an_open_circuit_is_down(app: Bff, public: httpx.AsyncClient, ops: httpx.AsyncClient) -> None:
    """/health/services says so, and does not turn the gateway itself unready."""
    for number in range(12):
        await visit(public, f"broken-{number}")
    health = (await ops.get("/health/services")).json()
    assert health["status"] == "degraded"
    assert health["services"]["reviews"]["status"] == "down"
    assert health["services"]["catalog"]["status"] == "ok"
    assert (await ops.get("/health/ready")).status_code == 200


def test_the_page_allows_nothing_but_itself() -> None:
    """One script and one style by their hashes, no handlers or styles in attributes, no other origin."""
    assert "default-src 'none'" in CSP
    assert "unsafe" not in CSP
    assert PAGE.count("<script") == PAGE.count("<style") == 1
    assert " style=" not in PAGE
    assert " onclick=" not in PAGE
    assert "innerHTML" not in PAGE
    assert "http" not in PAGE.replace("http://www.w3.org/2000/svg", "")
