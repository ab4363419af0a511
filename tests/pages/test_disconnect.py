"""A client that leaves over a real socket: its calls are let go; a write is finished all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from pydantic import BaseModel

from bff_core import Bff, Page, ServiceClient, ServiceSettings, Settings, create_bff, get, post, required
from bff_core.testing import HostileServer


class Ok(BaseModel):
    ok: bool


class Wish(BaseModel):
    what: str = "late"


class Hostile(ServiceClient, service="hostile"):
    @get("/{behaviour}")
    async def ask(self, behaviour: str) -> Ok: ...

    @post("/late")
    async def write(self, wish: Wish) -> Ok: ...


class Read(Page):
    answer = required(Hostile.ask)


class Write(Page):
    wish: Wish
    answer = required(Hostile.write)


async def until(condition: object, what: str) -> None:
    for _ in range(600):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


@pytest.fixture
async def hostile() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest.fixture
async def app(hostile: HostileServer) -> AsyncIterator[tuple[Bff, int]]:
    services = {"hostile": ServiceSettings(url=hostile.url)}
    app = create_bff("t", settings=Settings(services=services, log_level="CRITICAL"), clients=[Hostile])
    app.page("/{behaviour}", Read, public=True)
    app.page("/write", Write, method="POST", public=True)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the gateway is up")
    yield app, server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def test_a_read_is_let_go(app: tuple[Bff, int], hostile: HostileServer) -> None:
    """No permit, no task, no connection is kept for who has left, and the breaker does not count it."""
    bff, port = app
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/ok")).status_code == 200
    flights = bff.clients[Hostile].bound["ask"].flights
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n")
    await until(lambda: hostile.requests["never"] == 1, "the call is under way")
    assert len(flights) == 1
    await asyncio.sleep(0.06)
    writer.close()
    await until(lambda: len(flights) == 0, "the call is let go")
    breaker = bff.upstreams["hostile"].breaker
    assert breaker._failures.total(float("1e12")) == 0
    hostile.release.set()
    await until(lambda: bff.upstreams["hostile"].wire.in_flight == 0, "nothing is in flight")


async def test_a_write_is_finished(app: tuple[Bff, int], hostile: HostileServer) -> None:
    """What may have changed something is not cut off in the middle."""
    bff, port = app
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"what": "x"}'
    writer.write(
        b"POST /write HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
        % (len(body), body)
    )
    await until(lambda: hostile.requests["late"] == 1, "the call is under way")
    writer.close()
    await asyncio.sleep(0.1)
    assert bff.upstreams["hostile"].wire.in_flight == 1
    hostile.release.set()
    await until(lambda: bff.upstreams["hostile"].wire.in_flight == 0, "it is finished")
