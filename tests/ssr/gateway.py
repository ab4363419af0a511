"""A gateway on a real socket whose services answer when a test says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import BaseModel, ConfigDict, Field

from bff_core import Bff, Page, Policy, RetryPolicy, ServiceClient, Settings, create_bff, get, optional, required, shape
from bff_core.testing import FakeServices

__all__ = ["Reader", "Stage", "Thing", "ThingPage", "Things", "make_gateway", "on_a_socket", "reading", "until"]

TEMPLATES = Path(__file__).parent / "templates"


class Things(ServiceClient, service="things"):
    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> str: ...

    @get("/things/{thing_id}/notes")
    async def notes(self, thing_id: str) -> list[str]: ...

    @get("/things/{thing_id}/ids")
    async def ids(self, thing_id: str) -> list[str]: ...

    @get("/others")
    async def others(self, ids: list[str]) -> list[str]: ...


class Thing(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    title: str
    notes: list[str]
    related: list[str] = Field(alias="relatedThings")


class ThingPage(Page):
    """A required section, and three that may come later; the last waits for the one before."""

    title = required(Things.thing)
    notes = optional(Things.notes, fallback=[], feeds=["notes"])
    found = optional(Things.ids, fallback=[], feeds=["related"])
    related = optional(Things.others, ids=lambda found: found, fallback=["none"], feeds=["related"])

    @shape
    def thing(self, title: str, notes: list[str], related: list[str]) -> Thing:
        return Thing(title=title, notes=notes, related=related)


class Stage:
    """The services. An answer goes out when its gate is open; all gates are open but those that a test shuts."""

    def __init__(self) -> None:
        self.services = FakeServices("things")
        self.answers: dict[str, Any] = {"thing": "Lamp", "notes": ["good", "bad"], "ids": ["a", "b"], "others": ["A"]}
        self.gates = {name: asyncio.Event() for name in self.answers}
        self.asked: list[str] = []
        for gate in self.gates.values():
            gate.set()
        self.services["things"].get(path__regex=r".*").mock(side_effect=self._answer)

    def shut(self, *names: str) -> None:
        for name in names:
            self.gates[name].clear()

    def open(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.split("/")[-1]
        name = name if name in self.answers else "thing"
        self.asked.append(name)
        await self.gates[name].wait()
        answer = self.answers[name]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, content=json.dumps(answer))


def make_gateway(stage: Stage, **settings: Any) -> Bff:
    app = create_bff(
        "tested",
        settings=Settings(
            services=stage.services.settings,
            policy=Policy(timeout=20, retry=RetryPolicy(attempts=1)),
            deadline=20,
            log_level="CRITICAL",
            **settings,
        ),
        clients=[Things],
        transport=stage.services.transport,
        templates=TEMPLATES,
    )
    app.page("/api/{thing_id}", ThingPage, public=True, stream=True)
    app.page("/once/{thing_id}", ThingPage, public=True)
    app.html("/things/{thing_id}", ThingPage, template="thing.html", public=True)
    app.html("/plain/{thing_id}", ThingPage, template="plain.html", public=True)
    app.html("/broken/{thing_id}", ThingPage, template="broken.html", public=True)
    app.html("/broken-shell/{thing_id}", ThingPage, template="broken-shell.html", public=True)
    return app


@asynccontextmanager
async def on_a_socket(app: Bff, **options: Any) -> AsyncIterator[str]:
    """The origin at which ``app`` is served."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, **options))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the gateway is up")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def until(condition: Any, what: str) -> None:
    for _ in range(600):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


class Reader:
    """Reads a streamed answer as far as a test wants."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.text = ""
        self._chunks = response.aiter_text()

    async def to(self, mark: str) -> str:
        """All that has come until ``mark`` has; raises ``StopAsyncIteration`` when it never does."""
        while mark not in self.text:
            self.text += await anext(self._chunks)
        return self.text

    async def rest(self) -> str:
        """Everything."""
        async for chunk in self._chunks:
            self.text += chunk
        return self.text


@asynccontextmanager
async def reading(url: str, accept: str = "*/*", **headers: str) -> AsyncIterator[Reader]:
    """The answer at ``url`` while it comes."""
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", url, headers={"accept": accept, **headers}) as response,
    ):
        yield Reader(response)
