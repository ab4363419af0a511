"""The quicker way to answer under ``bff serve``: the same bytes, the same life of the connection."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import uvicorn
from pydantic import BaseModel

from bff_core import Bff, Page, ServiceClient, Settings, create_bff, get, required
from bff_core.server import http1_protocol
from bff_core.server.exchange import Exchange
from bff_core.testing import FakeServices


class Thing(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> Thing: ...


class ThingPage(Page):
    thing = required(Things.thing)


def gateway() -> Bff:
    services = FakeServices("things")
    services["things"].get(path__regex="/things/.*").respond(json={"id": "ä"})
    app = create_bff(
        "whole", clients=[Things], settings=Settings(services=services.settings), transport=services.transport
    )
    app.page("/things/{thing_id}", ThingPage, public=True)
    return app


async def exchange(request: bytes, *, quick: bool) -> list[bytes]:
    """What a gateway sends to ``request`` until it closes, without what differs from answer to answer."""
    app = gateway()
    http: Any = http1_protocol(app.settings.hardening) if quick else "httptools"
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, http=http, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    writer.write(request)
    answer = await reader.read()
    writer.close()
    server.should_exit = True
    await serving
    changing = (b"date:", b"x-request-id:", b"server-timing:")
    answer = re.sub(rb"urn:request:[0-9a-f]{32}", b"", answer)
    return [line for line in answer.split(b"\r\n") if not line.startswith(changing)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_",
    [
        b"GET /things/a HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /things/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"GET /things/a HTTP/1.0\r\nhost: localhost\r\n\r\n",
        b"HEAD /things/a HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /things/a HTTP/1.1\r\nhost: localhost\r\n\r\n" * 3,
        b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\nGET /things/a HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ],
    ids=["keep-alive", "close", "1.0", "head", "pipelined", "after another"],
)
async def test_the_answer_is_uvicorns_own(request_: bytes) -> None:
    assert await exchange(request_, quick=True) == await exchange(request_, quick=False)


@pytest.mark.anyio
async def test_it_is_taken_for_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the answer goes the usual way in two messages."""
    taken: list[int] = []
    original = Exchange.answer
    monkeypatch.setattr(Exchange, "answer", lambda *args: (taken.append(args[1]), original(*args))[1])
    await exchange(b"GET /things/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", quick=True)
    assert taken == [200]
