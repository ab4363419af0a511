"""Whole pages kept while every answer they were made of is fresh."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header
from pydantic import BaseModel

from bff_core import (
    DeclarationError,
    Page,
    RequestContext,
    ServiceClient,
    Settings,
    create_bff,
    get,
    optional,
    required,
    section,
)
from bff_core.app import Bff
from bff_core.context import current_context
from bff_core.testing import FakeServices, bff_client


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("things")


class Thing(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> Thing: ...

    @get("/notes/{thing_id}")
    async def notes(self, thing_id: str) -> list[str]: ...


class ThingPage(Page):
    thing = required(Things.thing)
    notes = optional(Things.notes, fallback=[])


class HeaderPage(Page):
    shade: Annotated[str, Header()] = ""
    thing = required(Things.thing, thing_id=lambda shade: shade)


class LatePage(ThingPage):
    @section
    def late(self) -> bool:
        current_context().started -= 31  # the request has taken so long
        return True


class FunctionPage(Page):
    thing = required(Things.thing)

    @section
    async def notes(self, thing_id: str, things: Things) -> list[str]:
        return await things.notes(thing_id)


class FlagsPage(Page):
    thing = optional(Things.thing, thing_id="a")

    @section
    def app(self, context: RequestContext) -> str:
        return str(context.scope)


def gateway(services: FakeServices) -> Bff:
    settings = Settings(services={"things": {"url": "http://things.test"}})
    app = create_bff("t", clients=[Things], settings=settings, transport=services.transport)
    app.page("/things/{thing_id}", ThingPage, public=True, cache=True)
    return app


def answer(document: Any, cache: str | None = "max-age=60") -> httpx.Response:
    return httpx.Response(200, json=document, headers={"cache-control": cache} if cache else {})


@pytest.mark.anyio
async def test_a_page_is_answered_again_without_its_services_while_all_is_fresh(services: FakeServices) -> None:
    thing = services["things"].get("/things/a").mock(return_value=answer({"id": "a"}))
    services["things"].get("/notes/a").mock(return_value=answer(["n"], "max-age=30"))
    async with bff_client(gateway(services)) as client:
        first = await client.get("/things/a")
        again = await client.get("/things/a")
        other = await client.get("/things/a?fields=notes")
    assert first.json() == {"thing": {"id": "a"}, "notes": ["n"]}
    assert again.content == first.content
    assert "age" in again.headers
    assert "age" not in first.headers
    assert other.json() == {"notes": ["n"]}
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert thing.call_count == 1


@pytest.mark.anyio
@pytest.mark.parametrize("cache", [None, "no-store", "max-age=0", "private, max-age=60"])
async def test_one_answer_that_may_not_be_kept_keeps_the_page_from_being_kept(
    services: FakeServices, cache: str | None
) -> None:
    services["things"].get("/things/a").mock(return_value=answer({"id": "a"}))
    notes = services["things"].get("/notes/a").mock(return_value=answer(["n"], cache))
    async with bff_client(gateway(services)) as client:
        for _ in range(2):
            assert "age" not in (await client.get("/things/a")).headers
    assert notes.call_count == 2


@pytest.mark.anyio
async def test_a_degraded_page_is_not_kept(services: FakeServices) -> None:
    services["things"].get("/things/a").mock(return_value=answer({"id": "a"}))
    services["things"].get("/notes/a").mock(return_value=httpx.Response(404))
    async with bff_client(gateway(services)) as client:
        await client.get("/things/a")
        again = await client.get("/things/a")
    assert again.json()["_degraded"] == ["notes"]
    assert "age" not in again.headers


@pytest.mark.anyio
@pytest.mark.parametrize(("cache", "kept"), [("max-age=30", False), ("max-age=60", True)])
async def test_what_was_fresh_when_it_came_may_be_so_no_more(services: FakeServices, cache: str, kept: bool) -> None:
    services["things"].get("/things/a").mock(return_value=answer({"id": "a"}))
    services["things"].get("/notes/a").mock(return_value=answer(["n"], cache))
    app = gateway(services)
    app.page("/late/{thing_id}", LatePage, public=True, cache=True)
    async with bff_client(app) as client:
        await client.get("/late/a")
        assert ("age" in (await client.get("/late/a")).headers) is kept


def test_what_is_somebodys_in_particular_cannot_be_cached(services: FakeServices) -> None:
    app = gateway(services)
    with pytest.raises(DeclarationError, match="reads headers"):
        app.page("/shade", HeaderPage, public=True, cache=True)

    with pytest.raises(DeclarationError, match="takes the request's context"):
        app.page("/flags", FlagsPage, public=True, cache=True)

    with pytest.raises(DeclarationError, match="only a public GET page"):
        app.page("/things/{thing_id}", ThingPage, method="POST", public=True, cache=True)


def test_how_long_a_functions_own_calls_are_fresh_is_not_known(services: FakeServices) -> None:
    with pytest.raises(DeclarationError, match="function that takes Things cannot be cached as a whole"):
        gateway(services).page("/notes/{thing_id}", FunctionPage, public=True, cache=True)
