"""A gateway on a real socket; every test ends with a look at what it has left behind: nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import httpx
import pytest
import uvicorn
import uvloop

from bff_core import Bff, BreakerPolicy, Policy, RetryPolicy, ServiceSettings, Settings, create_bff
from bff_core.balance import BalancedWire
from bff_core.server import http1_protocol
from bff_core.wire import Http1Wire
from tests.wire.raw import RawServer, Script

WireKind = Literal["http1", "httpx"]
CALM = Policy(
    timeout=5.0,
    bulkhead=8,
    retry=RetryPolicy(base=0.001, cap=0.001, reserve=1000),
    breaker=BreakerPolicy(minimum_calls=10_000),
)


async def settled(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds, for a while."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to be")


class Gateway:
    """A running gateway: ``app``, its ``port``, an httpx ``client`` of it."""

    def __init__(self, app: Bff, port: int, client: httpx.AsyncClient) -> None:
        self.app = app
        self.port = port
        self.client = client

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, **options)

    async def raw(self, *data: bytes) -> bytes:
        """All that comes back on a connection of its own, until the gateway closes it."""
        reader, writer = await self.connect()
        for part in data:
            writer.write(part)
            await writer.drain()
        got = await reader.read()
        writer.close()
        return got

    def in_flight(self, service: str = "media") -> int:
        return self.app.upstreams[service].wire.in_flight

    def failures(self) -> int:
        """How many the breaker has counted lately."""
        return self.app.upstreams["media"].breaker._failures.total(time.monotonic())


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture(
    params=[("asyncio", {"loop_factory": uvloop.new_event_loop})],
    ids=["uvloop"],
    scope="module",
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The loop that gateways run on."""
    return request.param


@pytest.fixture(params=["http1", "httpx"])
def wire(request: pytest.FixtureRequest) -> WireKind:
    """Both wires."""
    kind: WireKind = request.param
    return kind


async def listen(app: Any, http: Any = "httptools") -> tuple[uvicorn.Server, asyncio.Task[None], int]:
    config = uvicorn.Config(
        app, port=0, http=http, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await settled(lambda: server.started)
    return server, serving, server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
async def start(anyio_backend: Any) -> AsyncIterator[Start]:
    """Start a gateway before the services at ``urls`` (one service, called media)."""
    running: list[tuple[Gateway, uvicorn.Server, asyncio.Task[None]]] = []

    async def begin(
        url: str,
        *,
        wire: WireKind = "http1",
        own: bool | None = None,
        policy: Policy = CALM,
        path: str = "/media/{path:path}",
        to: str = "/{path}",
        settings: dict[str, Any] | None = None,
        create: dict[str, Any] | None = None,
        **options: Any,
    ) -> Gateway:
        services = {"media": ServiceSettings(url=url, policy=policy)}
        values: dict[str, Any] = {"services": services, "log_level": "CRITICAL", "wire": wire, **(settings or {})}
        app = create_bff("t", settings=Settings(**values), clients=[], **(create or {}))
        app.proxy(path, service="media", to=to, **{"public": True, **options})
        # Unless the test says: our own side of both wire and server, or neither.
        ours = wire == "http1" if own is None else own
        http = http1_protocol(app.settings.hardening, app.begin, app.turns) if ours else "httptools"
        server, serving, port = await listen(app, http)
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
        gateway = Gateway(app, port, client)
        running.append((gateway, server, serving))
        return gateway

    yield begin
    # What compiled code leaves behind when it waits in a handler is the next request's.
    left: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: left.set_result(sys.exc_info()[1]))
    assert await left is None
    for gateway, server, serving in running:
        await gateway.client.aclose()
        await settled(lambda gateway=gateway: gateway.in_flight() == 0)  # type: ignore[misc]
        server.should_exit = True
        await serving
        outer = gateway.app.upstreams["media"].wire
        inner = [e.wire for e in outer.balancer.endpoints] if isinstance(outer, BalancedWire) else [outer]
        if isinstance(outer, BalancedWire):
            assert all(endpoint.in_flight == 0 for endpoint in outer.balancer.endpoints)
        for one in inner:
            if isinstance(one, Http1Wire):
                assert not one._pool._open
                assert not one._pool._waiting
    await settled(lambda: not [t for t in asyncio.all_tasks() if "bff_core" in repr(t)])


@pytest.fixture
async def serve(anyio_backend: Any) -> AsyncIterator[Callable[[Script], Awaitable[RawServer]]]:
    """Start raw servers."""
    running: list[Any] = []

    async def begin(script: Script) -> RawServer:
        server = RawServer(script)
        manager = server.run()
        await manager.__aenter__()
        running.append(manager)
        return server

    yield begin
    for manager in running:
        await manager.__aexit__(None, None, None)


@pytest.fixture
async def asgi(anyio_backend: Any) -> AsyncIterator[Callable[[Any], Awaitable[str]]]:
    """Serve ASGI applications by uvicorn; gives the origin."""
    running: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []

    async def begin(app: Any) -> str:
        server, serving, port = await listen(app)
        running.append((server, serving))
        return f"http://127.0.0.1:{port}"

    yield begin
    for server, serving in running:
        server.should_exit = True
        await serving
