"""A gateway of two pages that have an effect, and the service that counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import httpx
from fastapi import Header
from pydantic import BaseModel

from bff_core import (
    Authorizer,
    AuthorizerRequest,
    Bff,
    Page,
    Principal,
    ServiceClient,
    Settings,
    Versions,
    create_bff,
    post,
    required,
    section,
    shape,
)

KEY = {"idempotency-key": "a-key-of-mine", "x-user": "ann"}
LAMP = {"name": "lamp"}


class NewThing(BaseModel):
    name: str


class Thing(BaseModel):
    id: str
    text: str = ""


class Things(ServiceClient, service="things"):
    @post("/things")
    async def make(self, thing: NewThing, idempotency_key: Annotated[str | None, Header()] = None) -> Thing: ...


class MakeThing(Page):
    """Make a thing."""

    thing: NewThing
    idempotency_key: Annotated[str | None, Header()] = None
    made = required(Things.make, relay_status=[409, 429])

    @shape
    def answer(self, made: Thing) -> Thing:
        return made


class Touch(Page):
    """Do something that needs no body."""

    @section
    def touched(self) -> int:
        touches.append(1)
        return len(touches)


touches: list[int] = []


class Service:
    """What is behind the gateway: keeps the keys of what it did, waits for ``hold`` and says ``answer``."""

    def __init__(self) -> None:
        self.done: list[str | None] = []
        self.hold: asyncio.Event | None = None
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(201, json={"id": f"t{len(self.done)}"})

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.done.append(request.headers.get("idempotency-key"))
        if self.hold is not None:
            await self.hold.wait()
        return self.answer()


async def who(request: AuthorizerRequest) -> Principal | None:
    """Whoever says a name."""
    return Principal(request.headers["x-user"])


def gateway(
    url: str, service: Service, *, timeout: float = 20.0, versions: Versions | None = None, **settings: object
) -> Bff:
    """Calls of the store may take ``timeout`` seconds: the machine may be busy."""
    loaded = Settings.load(
        services={"things": {"url": "http://things.test"}},
        idempotency_url=url,
        deadline=30.0,
        shed_after=100,
        **settings,
    )
    app = create_bff(
        "t",
        settings=loaded,
        clients=[Things],
        versions=versions,
        auth=Authorizer(who, identity=["x-user"]),
        transport=httpx.MockTransport(service.handle),
    )
    app.page("/things", MakeThing, method="POST", status=201, idempotency="required")
    app.page("/others", MakeThing, method="POST", status=201, idempotency="optional")
    app.page("/touches", Touch, method="POST", idempotency="required")
    app.page("/touches", Touch, method="PUT", idempotency="required")
    app.idempotency._store._timeout = timeout  # type: ignore[union-attr]
    return app
