"""Pages as messages, over real sockets."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from bff_core import (
    Bff,
    DeclarationError,
    Page,
    ServiceClient,
    ServiceSettings,
    Settings,
    Version,
    Versions,
    create_bff,
    get,
    post,
    required,
    shape,
)
from bff_core import optional as optional_section
from bff_core.pages.messages import preferred
from bff_core.testing import FakeServices, HostileServer, bff_client

from .gateway import Stage, ThingPage, make_gateway, on_a_socket, reading, until

NDJSON = "application/x-ndjson"
EVENTS = "text/event-stream"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def merged(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The document that a client has in the end."""
    document: dict[str, Any] = {}
    for message in messages:
        document |= message.get("data", {})
    return document


async def test_what_is_required_comes_first(stage: Stage, url: str) -> None:
    """The first message is there while every optional section is still to come; each follows when it does."""
    stage.shut("notes", "ids")
    async with reading(f"{url}/api/t1", NDJSON) as reader:
        first = json.loads(await reader.to("\n"))
        assert first == {
            "data": {"title": "Lamp", "notes": [], "relatedThings": ["none"]},
            "pending": ["notes", "found", "related"],
            "hasNext": True,
        }
        stage.open("ids")
        await reader.to('"section":"related"')
        assert '"section":"notes"' not in reader.text
        stage.open("notes")
        messages = lines(await reader.rest())
    assert [message.get("section") for message in messages] == [None, "found", "related", "notes", None]
    assert messages[1]["data"] == {}
    assert messages[2]["data"] == {"relatedThings": ["A"]}
    assert messages[3]["data"] == {"notes": ["good", "bad"]}
    assert [message["hasNext"] for message in messages] == [True] * 4 + [False]
    assert messages[-1]["degraded"] == []
    assert messages[-1]["timing"].keys() == {"title", "notes", "found", "related", "total"}
    assert reader.response.headers["content-type"] == NDJSON
    assert reader.response.headers["x-accel-buffering"] == "no"
    assert "content-length" not in reader.response.headers


@pytest.mark.parametrize("query", ["", "?fields=notes", "?include=notes", "?fields=title,relatedThings"])
async def test_all_messages_together_are_the_document(stage: Stage, url: str, query: str) -> None:
    async with httpx.AsyncClient() as client:
        once = (await client.get(f"{url}/api/t1{query}")).json()
        streamed = lines((await client.get(f"{url}/api/t1{query}", headers={"accept": NDJSON})).text)
    assert merged(streamed) == once


async def test_a_section_that_fails_is_named(stage: Stage, url: str) -> None:
    stage.answers["notes"] = httpx.Response(500)
    async with httpx.AsyncClient() as client:
        once = (await client.get(f"{url}/api/t1")).json()
        streamed = lines((await client.get(f"{url}/api/t1", headers={"accept": NDJSON})).text)
    assert streamed[-1]["degraded"] == once.pop("_degraded") == ["notes"]
    assert merged(streamed) == once


@pytest.mark.parametrize(("status", "answered"), [(404, 404), (500, 502), (503, 503)])
@pytest.mark.parametrize("accept", [NDJSON, EVENTS, "application/json"])
async def test_a_required_section_that_fails_is_a_problem(
    stage: Stage, url: str, accept: str, status: int, answered: int
) -> None:
    """Nothing has been sent by then; and nobody waits for what is optional."""
    stage.answers["thing"] = httpx.Response(status)
    stage.shut("notes")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{url}/api/t1", headers={"accept": accept})
    assert answer.status_code == answered
    assert answer.headers["content-type"] == "application/problem+json"


async def test_events(stage: Stage, url: str) -> None:
    """The same messages, with names and ids; who has had the last one is told to stop."""
    async with reading(f"{url}/api/t1", EVENTS) as reader:
        text = await reader.rest()
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.strip().split("\n\n")]
    assert [event["event"] for event in events] == ["page", *["section"] * (len(events) - 2), "end"]
    assert [event["id"] for event in events] == [*map(str, range(len(events) - 1)), "end"]
    assert merged([json.loads(event["data"]) for event in events])["title"] == "Lamp"
    async with httpx.AsyncClient() as client:
        again = await client.get(f"{url}/api/t1", headers={"accept": EVENTS, "last-event-id": "end"})
        assert (again.status_code, again.content) == (204, b"")
        broken_off = await client.get(f"{url}/api/t1", headers={"accept": EVENTS, "last-event-id": "1"})
        assert broken_off.text.startswith("event: page\nid: 0\n")


async def test_who_asks_for_nothing_special_gets_a_document(stage: Stage, url: str) -> None:
    async with httpx.AsyncClient() as client:
        for accept in ("*/*", "application/json", "text/html, */*;q=0.8"):
            answer = await client.get(f"{url}/api/t1", headers={"accept": accept})
            assert answer.json()["title"] == "Lamp"
            assert answer.headers["vary"] == "accept"
        other = await client.get(f"{url}/once/t1", headers={"accept": NDJSON})
        assert other.headers["content-type"] == "application/json"
        assert "vary" not in other.headers


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        (EVENTS, EVENTS),
        (NDJSON, NDJSON),
        ("Text/Event-Stream", EVENTS),
        (f"{EVENTS};q=0.5, {NDJSON};q=0.9", NDJSON),
        (f"{EVENTS};q=0", "application/json"),
        (f"{EVENTS};q=nonsense", "application/json"),
        (f"application/json, {EVENTS};q=0.9", "application/json"),
        (f"application/json;q=0.2, {EVENTS}", EVENTS),
    ],
)
def test_preferred(accept: str, kind: str) -> None:
    assert preferred(accept) == kind


@given(st.text())
def test_any_accept_is_read(accept: str) -> None:
    assert preferred(accept) in ("application/json", EVENTS, NDJSON)


async def test_a_shape_that_fails_midway_is_told(stage: Stage) -> None:
    """The last message is there, and says so: never an answer that looks whole and is not."""

    class Moody(ThingPage):
        """Fails when notes have come."""

    app = make_gateway(stage)
    Moody.plan = replace(ThingPage.plan, shape=_moody)
    app.page("/moody/{thing_id}", Moody, public=True, stream=True)
    stage.shut("notes")
    async with on_a_socket(app) as origin, reading(f"{origin}/moody/t1", NDJSON) as reader:
        await reader.to("\n")
        stage.open("notes")
        last = lines(await reader.rest())[-1]
    assert last["hasNext"] is False
    assert last["error"] == {"title": "Internal Server Error", "status": 500, "detail": "Something went wrong here."}


def _moody(title: str, notes: list[str], related: list[str]) -> Any:
    if notes:
        raise ValueError("a secret of ours")
    return ThingPage.plan.shape(title, notes, related)


class Hostile(ServiceClient, service="hostile"):
    @get("/ok")
    async def quick(self) -> dict[str, bool]: ...

    @get("/never")
    async def never(self) -> dict[str, bool]: ...


class Waits(Page):
    """One section that never comes."""

    quick = required(Hostile.quick)
    never = optional_section(Hostile.never)


async def test_who_leaves_takes_the_calls_along() -> None:
    """The first message is out, the client goes: the section that still runs is let go."""
    async with HostileServer() as hostile:
        services = {"hostile": ServiceSettings(url=hostile.url)}
        settings = Settings(services=services, log_level="CRITICAL", deadline=20)
        app: Bff = create_bff("t", settings=settings, clients=[Hostile])
        app.page("/waits", Waits, public=True, stream=True)
        async with on_a_socket(app) as origin:
            async with reading(f"{origin}/waits", NDJSON) as reader:
                await reader.to("\n")
                flights = app.clients[Hostile].bound["never"].flights
                assert len(flights) == 1
            await until(lambda: not flights, "the call is let go")
            await until(lambda: not [t for t in asyncio.all_tasks() if "Run.complete" in repr(t)], "the run has ended")
            hostile.release.set()


class Orders(ServiceClient, service="orders"):
    @post("/orders")
    async def order(self) -> int: ...

    @post("/bookings")
    async def book(self, order: int) -> int: ...


class Ordered(BaseModel):
    order: int


class OrderPage(Page):
    late: bool = False
    order = required(Orders.order)
    booking = optional_section(Orders.book)
    mark = optional_section(Orders.book, order=lambda order: -order)

    @shape
    def ordered(self, late: bool, order: int, booking: int | None, mark: int | None) -> Ordered:
        if late and mark is None:
            marked.set()
            return Ordered(order=order)
        marked.set()
        spoiled.set()
        raise ValueError("nothing can be made of it")


marked, spoiled = asyncio.Event(), asyncio.Event()


@pytest.mark.parametrize("late", [False, True])
async def test_what_changes_something_is_finished(late: bool) -> None:
    """Though nothing can be made of the page: before anything was sent, or with a later message."""
    marked.clear()
    spoiled.clear()
    done = []

    async def book(request: httpx.Request) -> httpx.Response:
        order = int(request.url.params["order"])
        await (marked if order < 0 else spoiled).wait()
        for _ in range(50):
            await asyncio.sleep(0)
        done.append(order)
        return httpx.Response(200, json=order)

    services = FakeServices("orders")
    services["orders"].post("/orders").respond(json=7)
    services["orders"].post("/bookings").mock(side_effect=book)
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Orders], transport=services.transport)
    app.page("/orders", OrderPage, method="POST", public=True, stream=True)
    async with bff_client(app) as client:
        headers = {"accept": NDJSON, "content-type": "application/json"}
        answer = await client.post(f"/orders?late={late}", headers=headers)
        assert sorted(done) == [-7, 7]
        ended = await client.post("/orders", headers={"accept": EVENTS, "last-event-id": "end"})
    if late:
        assert lines(answer.text)[-1]["error"]["status"] == 500
    else:
        assert answer.status_code == 500
    assert ended.status_code == 204
    assert len(done) == 2
    assert services.count("orders") == 3, "a browser that comes back orders nothing"


async def test_mistakes_are_told_at_once(stage: Stage) -> None:
    app = make_gateway(stage)
    with pytest.raises(DeclarationError, match="not kept whole; take cache="):
        app.page("/kept/{thing_id}", ThingPage, public=True, stream=True, cache=True)
    app.versions = Versions(Version("2026-01-01"))
    with pytest.raises(DeclarationError, match="has no older versions"):
        app.page("/old/{thing_id}", ThingPage, public=True, stream=True)


async def test_streams_are_documented(stage: Stage) -> None:
    async with bff_client(make_gateway(stage)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    content = paths["/api/{thing_id}"]["get"]["responses"]["200"]["content"]
    assert content.keys() == {"application/json", EVENTS, NDJSON}
    assert "/things/{thing_id}" not in paths


def test_a_root_model_has_no_members(stage: Stage) -> None:
    class Names(RootModel[list[str]]):
        """A list."""

    class Listing(ThingPage):
        """A page of that."""

    Listing.plan = replace(ThingPage.plan, model=Names)
    with pytest.raises(DeclarationError, match="root model"):
        make_gateway(stage).page("/names/{thing_id}", Listing, public=True, stream=True)
