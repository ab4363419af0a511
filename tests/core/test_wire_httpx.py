"""The wire over httpx against real sockets that misbehave."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from bff_core.errors import ConnectionLost, ServiceError
from bff_core.wire import HttpxWire, WireResponse


class Cancels(httpx.AsyncBaseTransport):
    """One that waits for something which somebody else cancels, as a shared connect is."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner
        return httpx.Response(200, request=request)


@pytest.fixture
def wire() -> HttpxWire:
    return HttpxWire("http://things.test", Cancels(), connect_timeout=1.0, max_body=100)


async def test_who_waits_is_told_of_a_cancelled_transport(wire: HttpxWire) -> None:
    """Nobody asked for that: the call failed."""
    told: asyncio.Future[ServiceError | None] = asyncio.get_running_loop().create_future()

    def done(_: WireResponse | None, error: ServiceError | None) -> None:
        told.set_result(error)

    wire.send("GET", "/a", b"", b"", 5.0, done)
    assert isinstance(await asyncio.wait_for(told, 1), ConnectionLost)
    assert wire.in_flight == 0


async def test_so_is_who_waits_for_a_stream(wire: HttpxWire) -> None:
    """The same before the head of an answer that passes through."""
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(wire.stream("GET", "/a", b"", b"", 5.0).__aenter__(), 1)
