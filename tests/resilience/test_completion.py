"""Whatever a service or an author does, every request is answered, and nobody pays for another's haste."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    Bff,
    BreakerPolicy,
    HedgePolicy,
    Page,
    Policy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    optional,
    required,
    section,
)
from bff_core.testing import FakeServices, bff_client


class Row(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/a")
    async def one(self) -> Row: ...

    @get("/slow", policy=Policy(timeout=2.0))
    async def slow(self) -> Row: ...

    @get("/once", idempotent=False)
    async def once(self) -> Row: ...

    @get("/things", batch="ids", at="items")
    async def things(self, ids: list[str]) -> list[Row | None]: ...


class Batches(Page):
    first = optional(Things.things, ids=["a"], timeout=0.05)
    second = optional(Things.things, ids=["a"])


class Relays(Page):
    one = required(Things.one, relay_status=[409])


class Plain(Page):
    one = optional(Things.one)


class Brief(Page):
    one = optional(Things.one, timeout=0.02, fallback=None)


class Slow(Page):
    slow = required(Things.slow)


class Once(Page):
    once = required(Things.once)


class Cancelled(Page):
    @section(optional=True, timeout=0.5)
    async def odd(self) -> int | None:
        task = asyncio.create_task(asyncio.sleep(1))
        task.cancel()
        await task
        return 1


def gateway(services: FakeServices, *, deadline: float = 2.5, **policy: Any) -> Bff:
    things = ServiceSettings(**services.settings["things"], policy=Policy(**policy))
    settings = Settings(services={"things": things}, log_level="CRITICAL", deadline=deadline)
    app = create_bff("test", settings=settings, clients=[Things], transport=services.transport)
    for page in (Batches, Relays, Plain, Brief, Slow, Once, Cancelled):
        app.page(f"/{page.__name__.lower()}", page, public=True)
    return app


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("things")


async def ask(client: httpx.AsyncClient, path: str, **options: Any) -> httpx.Response:
    return await asyncio.wait_for(client.get(path, **options), 5)


def after(seconds: float) -> Any:
    """A service that takes its time."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(seconds)
        return httpx.Response(200, json={"id": "a"})

    return answer


async def test_rows_without_a_key(services: FakeServices) -> None:
    """They are no answer, and the page does not wait for one."""
    services["things"].get("/things").respond(json={"items": [None]})
    async with bff_client(gateway(services)) as client:
        assert (await ask(client, "/batches")).json()["_degraded"] == ["first", "second"]


async def test_a_batch_has_everybodys_own_time(services: FakeServices) -> None:
    """A section in a hurry does not take the time of the others."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.15)
        return httpx.Response(200, json={"items": [{"id": "a"}]})

    services["things"].get("/things").mock(side_effect=answer)
    async with bff_client(gateway(services)) as client:
        body = (await ask(client, "/batches")).json()
    assert (body["first"], body["second"], body["_degraded"]) == (None, [{"id": "a"}], ["first"])


async def test_a_section_that_is_cancelled_by_itself(services: FakeServices) -> None:
    """It has failed, like any other."""
    async with bff_client(gateway(services)) as client:
        assert (await ask(client, "/cancelled")).json() == {"odd": None, "_degraded": ["odd"]}


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"detail": "\\ud800"}', b"\xff", b"[]", b"null"])
async def test_a_hostile_problem_is_relayed_harmlessly(services: FakeServices, body: bytes) -> None:
    """Whatever stands in it, the client gets a problem document, and who shares the call gets an answer."""

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.02)
        return httpx.Response(409, content=body)

    services["things"].get("/a").mock(side_effect=answer)
    async with bff_client(gateway(services)) as client:
        relayed, plain = await asyncio.gather(ask(client, "/relays"), ask(client, "/plain"))
    assert (relayed.status_code, relayed.headers["content-type"]) == (409, "application/problem+json")
    assert plain.json() == {"one": None, "_degraded": ["one"]}


async def test_a_hurried_client_opens_no_circuit(services: FakeServices) -> None:
    """Its timeouts say nothing about the service."""
    services["things"].get("/a").mock(side_effect=after(0.03))
    app = gateway(services, breaker=BreakerPolicy(minimum_calls=3))
    async with bff_client(app) as client:
        for _ in range(6):
            await ask(client, "/relays", headers={"grpc-timeout": "5m"})
        assert app.upstreams["things"].breaker.state == "closed"
        assert (await ask(client, "/relays")).status_code == 200


async def test_a_sections_own_timeout_is_no_hurry(services: FakeServices) -> None:
    """Who never answers is refused after a while, also where a page waits less than the service may take."""
    services["things"].get("/a").mock(side_effect=after(0.2))
    app = gateway(services, timeout=0.2, breaker=BreakerPolicy(minimum_calls=3))
    async with bff_client(app) as client:
        for _ in range(3):
            assert (await ask(client, "/brief")).json() == {"one": None, "_degraded": ["one"]}
    assert app.upstreams["things"].breaker.state == "open"


async def test_a_deadline_as_long_as_the_timeout_is_no_hurry(services: FakeServices) -> None:
    """Every attempt has a bit less than its timeout then; it is the service that never answers."""
    services["things"].get("/a").mock(side_effect=after(0.5))
    app = gateway(services, deadline=0.2, timeout=0.2, breaker=BreakerPolicy(minimum_calls=3))
    async with bff_client(app) as client:
        for _ in range(3):
            assert (await ask(client, "/relays")).status_code == 504
    assert app.upstreams["things"].breaker.state == "open"


async def test_slow_is_what_an_operation_says(services: FakeServices) -> None:
    """One that may take two seconds is not slow after a tenth."""
    services["things"].get("/slow").mock(side_effect=after(0.06))
    app = gateway(services, timeout=0.05, breaker=BreakerPolicy(minimum_calls=3))
    async with bff_client(app) as client:
        for _ in range(6):
            assert (await ask(client, "/slow")).status_code == 200
    assert app.upstreams["things"].breaker.state == "closed"


async def test_what_is_not_idempotent_is_neither_shared_nor_hedged(services: FakeServices) -> None:
    """Each request for it is one of its own."""
    services["things"].get("/once").mock(side_effect=after(0.03))
    async with bff_client(gateway(services, hedge=HedgePolicy(enabled=True, delay=0.005))) as client:
        await asyncio.gather(*(ask(client, "/once") for _ in range(3)))
    assert services.count("things") == 3
