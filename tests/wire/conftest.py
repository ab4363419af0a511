"""Every test of the wire ends with a look at what it has left behind: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvloop

from bff_core.wire import Http1Wire

from .others import Others
from .raw import Make, RawServer, Script, settled


@pytest.fixture(
    params=[("asyncio", {}), ("asyncio", {"loop_factory": uvloop.new_event_loop})],
    ids=["asyncio", "uvloop"],
    scope="module",
)
def anyio_backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Both loops: what they tell a protocol, and when, differs."""
    return request.param


@pytest.fixture
async def make(anyio_backend: Any) -> AsyncIterator[Make]:
    wires: list[Http1Wire] = []
    before = asyncio.all_tasks()

    def build(where: RawServer | str, **options: Any) -> Http1Wire:
        origin = where if isinstance(where, str) else f"http://127.0.0.1:{where.port}"
        wire = Http1Wire(origin, **{"connect_timeout": 2.0, "max_body": 1_000_000, "max_connections": 4, **options})
        wires.append(wire)
        return wire

    yield build
    for wire in wires:
        assert wire.in_flight == 0
        pool = wire._pool
        assert len(pool._open) == len(pool._idle), "a connection is neither idle nor in use"
        assert not pool._waiting
        await wire.aclose()
        assert not pool._open
        assert not pool._closing
        assert not pool._dials
    await settled(
        lambda: not {t for t in asyncio.all_tasks() - before if "_wire" in repr(t) or "bff_core/wire" in repr(t)}
    )


@pytest.fixture
async def serve(anyio_backend: Any) -> AsyncIterator[Callable[[Script], Any]]:
    """Start raw servers; each connection to them must be gone at the end."""
    running: list[tuple[RawServer, Any]] = []

    async def start(script: Script, **options: Any) -> RawServer:
        server = RawServer(script)
        manager = server.run(**options)
        await manager.__aenter__()
        running.append((server, manager))
        return server

    yield start
    for _, manager in running:
        await manager.__aexit__(None, None, None)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Others]:
    """Servers as processes, ended with the module."""
    servers = Others(tmp_path_factory.mktemp("others"))
    yield servers
    servers.close()
