"""What clients and services send that nobody meant: it must not stand in the way of what comes after it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bff_core import Bff, Collection, Principal, Settings, create_bff, mutation
from bff_core.testing import bff_client
from tests.users import UserHeader

from .conftest import World
from .device import Device
from .shop import NotesService, NoteView, Shop, TagsService, TagView, Text, user
from .stores import MemoryStore

pytestmark = pytest.mark.anyio
LONG = "k" * 30_000
SEEN = "AAAAAAAAAAA"


async def settled(world: World) -> Device:
    world.shop.fill("u1", 5)
    device = world.device()
    await device.sync()
    return device


def kept(store: MemoryStore) -> bytes:
    return next(value for key, value in store.values.items() if key.startswith("outbox:"))


HOSTILE: list[dict[str, Any]] = [
    {"args": {"note_id": "..", "text": {"text": "a"}}, "if_version": SEEN},
    {"args": {"note_id": "", "text": {"text": "a"}}, "if_version": SEEN},
    {"args": {"note_id": {"a": [1]}, "text": {"text": "a"}}, "if_version": SEEN},
    {"args": {"note_id": "\ud83d", "text": {"text": "a"}}, "if_version": SEEN},
    {"args": {"note_id": "n1", "text": {"text": "a"}, "\ud83d": 1}},
    {"args": {"note_id": "n1", "text": 1e400}},
    {"args": [[[[[[]]]]]] * 500},
    {"op": "\ud83d", "args": {}},
    {"args": {LONG: 1}},
    {"args": {f"{LONG}{number}": 1 for number in range(10)}},
    {"args": {"note_id": LONG, "text": {"text": "a"}}},
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda entry: repr(entry)[:60])
async def test_nothing_stands_in_the_way(world: World, hostile: dict[str, Any]) -> None:
    device = await settled(world)
    bad = device.mutate("note.append")
    device.outbox[-1].update(hostile)
    good = device.mutate("note.append", note_id="n1", text={"text": "good"})
    await device.sync()
    assert device.final[bad]["status"] in ("rejected", "conflict")
    assert device.final[good]["status"] == "applied"
    assert device.ack == 2
    assert world.shop.effects == ["good"]
    assert len(kept(world.store)) < 4000, "what a client sends is not kept"


async def test_half_an_emoji_is_no_reason_to_refuse_an_outbox(world: World) -> None:
    """``"👍".slice(0, 1)`` in an app's text field: JSON can say it, UTF-8 cannot."""
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "cut \ud83d"})
    await device.sync()
    assert device.final[id_]["status"] == "applied"
    assert world.shop.effects == ["cut \ufffd"]


# The item of an `if_version` cannot be looked at.


@pytest.mark.parametrize(
    ("fault", "asked", "status"), [(403, 1, "rejected"), (500, 5, "rejected"), (401, 5, "rejected")]
)
async def test_an_item_that_cannot_be_looked_at(world: World, fault: int, asked: int, status: str) -> None:
    """Such as one that was taken away from its user since: what was done to it must not hold up the rest for ever."""
    device = await settled(world)
    bad = device.mutate("note.append", if_version=SEEN, note_id="n1", text={"text": "a"})
    good = device.mutate("note.append", note_id="n2", text={"text": "good"})
    world.shop.before = lambda request: httpx.Response(fault) if request.url.path.endswith("/n1") else None
    world.shop.forget()
    for _ in range(asked):
        assert device.outbox
        await device.once()
    assert world.shop.statuses.count(fault) == asked
    assert device.final[bad]["status"] == status
    assert device.final[good]["status"] == "applied"
    assert world.shop.effects == ["good"]


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("late"), httpx.Response(503), httpx.Response(429)], ids=str)
async def test_a_look_waits_for_an_outage(world: World, fault: Any) -> None:
    device = await settled(world)
    version = device.data["notes"]["n1"]["_v"]
    id_ = device.mutate("note.append", if_version=version, note_id="n1", text={"text": "a"})
    world.shop.before = lambda request: fault if request.url.path.endswith("/n1") else None
    for _ in range(7):
        await device.once()
    assert device.outbox
    world.shop.before = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == "applied"


# What an answer proves.


async def test_a_page_of_html_is_no_word_of_the_service(world: World) -> None:
    """Something in between answers 200 for a service that heard nothing: it is sent again, not taken for done."""
    device = await settled(world)
    id_ = device.mutate("note.add", note={"text": "mine"})
    html = httpx.Response(200, text="<html>Sign in to the network")
    world.shop.before = lambda request: html if request.method == "POST" else None
    assert (await device.once())["results"][0]["status"] == "retry"
    world.shop.before = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == "applied"
    assert world.shop.effects == ["mine"]


async def test_credentials_that_ran_out_lose_no_write(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "a"})
    world.shop.before = lambda request: httpx.Response(401) if request.method == "POST" else None
    assert (await device.once())["results"][0]["status"] == "retry"
    world.shop.before = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == "applied"


async def test_five_refused_credentials_are_a_refusal(world: World) -> None:
    """So that it does not hold up the rest, and nobody looks for an effect that there cannot be."""
    device = await settled(world)
    bad = device.mutate("note.append", note_id="n1", text={"text": "a"})
    good = device.mutate("note.append", note_id="n2", text={"text": "good"})
    world.shop.before = lambda request: (
        httpx.Response(401) if request.method == "POST" and "/n1" in request.url.path else None
    )
    for _ in range(5):
        assert bad not in device.final
        await device.once()
    assert device.final[bad]["status"] == "rejected"
    assert device.final[good]["status"] == "applied"


async def test_failed_look_ups_are_no_refused_credentials(world: World) -> None:
    """A 401 is the first, however often the item could not be looked at before."""
    device = await settled(world)
    id_ = device.mutate("note.append", if_version=device.data["notes"]["n1"]["_v"], note_id="n1", text={"text": "mine"})
    for method, times in (("GET", 4), ("POST", 4), ("GET", 4)):
        world.shop.before = lambda request, method=method: (  # type: ignore[misc]
            httpx.Response(500 if method == "GET" else 401)
            if request.method == method and "/n1" in request.url.path
            else None
        )
        for _ in range(times):
            await device.once()
            assert id_ not in device.final
    world.shop.before = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == "applied"
    assert world.shop.effects == ["mine"]


async def test_after_refused_credentials_the_version_is_looked_at_again(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", if_version=device.data["notes"]["n1"]["_v"], note_id="n1", text={"text": "mine"})
    world.shop.before = lambda request: httpx.Response(401) if request.method == "POST" else None
    assert (await device.once())["results"][0]["status"] == "retry"
    world.shop.before = lambda _: None
    other = world.device()
    await other.sync()
    other.mutate("note.append", note_id="n1", text={"text": "theirs"})
    await other.sync()
    await device.sync()
    assert device.final[id_]["status"] == "conflict"
    assert world.shop.effects == ["theirs"]


# The gateway's own functions.


class Full(Exception):
    pass


def checked(principal: Principal, text: str) -> Text:
    if text == "bug":
        raise Full(principal.subject)
    return Text.model_validate({"text": text if text != "odd" else None})


def hidden(principal: Principal) -> str:
    raise KeyError(principal.subject)


def small_app(shop: Shop, *collections: Collection) -> Bff:
    settings = Settings(services=shop.settings, log_level="CRITICAL")
    services = [NotesService, TagsService]
    app = create_bff("m", settings=settings, clients=services, auth=UserHeader(), transport=shop.transport)
    write = mutation("write", NotesService.append, touches=["notes"], user_id=user, text=checked)
    notes = Collection("notes", NotesService.of_user, NoteView, user_id=user)
    app.sync("/sync", collections=[notes, *collections], mutations=[write])
    return app


@pytest.mark.parametrize("text", ["odd", "bug"])
async def test_a_function_that_raises_rejects_one_mutation(text: str) -> None:
    shop = Shop()
    shop.fill("u1", 2)
    async with bff_client(small_app(shop)) as http:
        device = Device(http)
        bad = device.mutate("write", note_id="n1", text=text)
        good = device.mutate("write", note_id="n1", text="good")
        await device.sync()
        assert device.final[bad]["status"] == "rejected"
        assert "u1" not in str(device.final[bad])
        assert device.final[good]["status"] == "applied"


async def test_a_function_that_raises_costs_its_collection() -> None:
    shop = Shop()
    shop.fill("u1", 2)
    broken = Collection("broken", NotesService.of_user, NoteView, user_id=hidden)
    async with bff_client(small_app(shop, broken, Collection("tags", TagsService.all, TagView, key="name"))) as http:
        device = Device(http, collections=["notes", "broken", "tags"])
        id_ = device.mutate("write", note_id="n1", text="good")
        answer = await device.once()
        assert answer["stale"] == ["broken"]
        assert device.final[id_]["status"] == "applied"
        assert len(device.data["notes"]) == 2


# The network.


async def test_a_slow_upload_leaves_time_for_the_services(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a phone takes to send is not the services' time: it would ask again, for ever, and get nowhere."""
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "a"})
    late = 0.0
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + late)

    async def slowly() -> AsyncIterator[bytes]:
        nonlocal late
        body = json.dumps(device.request()).encode()
        yield body[:10]
        late += 100.0
        yield body[10:]

    response = await world.http.post("/sync", content=slowly(), headers=device.headers)
    assert response.status_code == 200
    device.apply(response.json())
    assert device.final[id_]["status"] == "applied"
    assert not response.json().get("stale")
