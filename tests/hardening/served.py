"""A gateway as uvicorn serves it, a service that keeps what it was sent, and a client of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import uvicorn
from fastapi import Header, Request
from pydantic import BaseModel
from starlette.types import Scope

from bff_core import Bff, Page, Principal, ServiceClient, Settings, create_bff, get, post, required, section
from bff_core.server import Http1Protocol, http1_protocol


class Echo(BaseModel):
    target: str


class Thing(BaseModel):
    name: str = ""
    items: list[Any] = []


class Echoes(ServiceClient, service="echo"):
    @get("/things/{thing_id}/end")
    async def thing(
        self, thing_id: str, q: str | None = None, x_note: Annotated[str | None, Header()] = None
    ) -> Echo: ...

    @post("/things")
    async def make(self, thing: Thing) -> Echo: ...


class ThingPage(Page):
    q: str | None = None
    x_note: Annotated[str | None, Header()] = None
    echo = required(Echoes.thing)


class ShelfPage(Page):
    echo = required(Echoes.thing, q=None, x_note=None)


class MakePage(Page):
    thing: Thing
    echo = required(Echoes.make)


class LongPage(Page):
    @section
    def text(self) -> str:
        return "x" * 8_000_000


class MinePage(Page):
    echo = required(Echoes.thing, thing_id=lambda principal: principal.subject)


class Named:
    """Believes whoever says a name; for tests of what comes after."""

    challenge = "Name"
    scheme: ClassVar = {"type": "apiKey", "in": "header", "name": "x-name"}

    async def authenticate(self, scope: Scope) -> Principal | None:
        name = next((value for key, value in scope["headers"] if key == b"x-name"), None)
        return Principal(name.decode("latin-1")) if name is not None else None

    async def aclose(self) -> None:
        """Nothing is held."""


@dataclass
class EchoService:
    """Answers every request with its target; ``heads`` are the heads as they came, byte for byte."""

    heads: list[bytes] = field(default_factory=list)
    url: str = ""

    @property
    def targets(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line[15:]))
                body = json.dumps({"target": self.targets[-1]}).encode()
                fresh = b"cache-control: max-age=60\r\n" if b"/kept" in head else b""
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%s"
                    % (fresh, len(body), body)
                )
        writer.close()


@contextlib.asynccontextmanager
async def echo_service() -> AsyncIterator[EchoService]:
    service = EchoService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield service
    server.close()


def gateway(service_url: str, **values: Any) -> Bff:
    """A gateway of some pages, and plain routes beside them."""
    settings = Settings(services={"echo": {"url": service_url}}, **values)
    app = create_bff("edge", clients=[Echoes], settings=settings, auth=Named())
    app.page("/things/{thing_id}", ThingPage, public=True)
    app.page("/shelf/{thing_id}", ShelfPage, public=True, cache=True)
    app.page("/things", MakePage, method="POST", public=True)
    app.page("/mine", MinePage)
    app.page("/long", LongPage, public=True)
    app.proxy("/pass/{thing_id}", service="echo", to="/{thing_id}", methods=["POST"], public=True, max_body=5000)

    async def plain(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    async def model(thing: Thing) -> Thing:
        return thing

    # Plain routes are private; the name makes them nobody's business here.
    app.add_api_route("/plain", plain, methods=["POST", "PUT"])
    app.add_api_route("/model", model, methods=["POST"])
    return app


@dataclass
class Served:
    """A gateway served at a port of this machine, and the service behind it."""

    port: int
    service: EchoService
    connections: set[Any] = field(default_factory=set)
    app: Any = None

    async def say(self, *parts: bytes, pause: float = 0.0, patience: float = 0.25) -> bytes:
        """Everything that comes back when these parts are sent one after another, until the gateway closes or has
        been silent for ``patience`` seconds after its first word; b"<EOF>" marks that it closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        found = bytearray()
        # Read while writing: what was said before a connection is reset is lost otherwise.
        listening = asyncio.ensure_future(_listen(reader, found))
        for index, part in enumerate(parts):
            if index:
                await asyncio.sleep(pause)
            if listening.done():
                break
            writer.write(part)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        heard = -1
        while not listening.done() and heard != len(found):
            heard = len(found)
            for _ in range(20):
                await asyncio.wait([listening], timeout=patience)
                if found:
                    break
        listening.cancel()
        writer.close()
        return bytes(found)


async def _listen(reader: asyncio.StreamReader, found: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            found += data
    found += b"<EOF>"


@contextlib.asynccontextmanager
async def served(*, guard: bool = True, write_timeout: float | None = None, **values: Any) -> AsyncIterator[Served]:
    """A gateway with these settings; without ``guard`` as plain uvicorn would serve it."""
    async with echo_service() as service:
        app = gateway(service.url, **values)
        protocol: Any = http1_protocol(app.settings.hardening, app.begin, app.turns)
        if write_timeout is not None:
            caps = dataclasses.replace(protocol.keywords["caps"], write_timeout=write_timeout)
            protocol = functools.partial(Http1Protocol, caps=caps)
        config = uvicorn.Config(
            app,
            port=0,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=protocol if guard else "httptools",
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]
        task = asyncio.ensure_future(server._serve())
        while not server.started:
            await asyncio.sleep(0.01)
        yield Served(server.servers[0].sockets[0].getsockname()[1], service, server.server_state.connections, app)
        server.should_exit = True
        await task


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers in ``answer``."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
