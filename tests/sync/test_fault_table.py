"""What goes wrong between an app, the gateway and the services, line by line, and what must come of it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from typing import Any

import anyio
import httpx
import pytest

from bff_core.testing import bff_client

from .conftest import Clock, World, make_app
from .device import Device
from .shop import Shop
from .stores import MemoryStore

pytestmark = pytest.mark.anyio


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


async def settled(world: World, count: int = 30, **options: Any) -> Device:
    """A device that has everything."""
    world.shop.fill("u1", count)
    device = world.device(**options)
    await device.sync()
    assert device.texts() == world.shop.texts("u1")
    return device


# Token lost, expired, tampered, another user's, before key rotation: 200 snapshot, a delta with `have`; nothing leaks.


@pytest.mark.parametrize("have", [False, True])
async def test_token_lost(world: World, have: bool) -> None:
    device = await settled(world)
    world.shop.put("u1", "n3", "changed")
    del world.shop.notes["u1"]["n4"]
    device.token, device.have = None, have
    answer = await device.once()
    assert answer["mode"] == ("delta" if have else "snapshot")
    # Two enumerations that agree are needed before something is deleted from a listing of several pages.
    assert len(answer["collections"]["notes"]["put"]) == (1 if have else 29)
    await device.sync()
    assert device.texts() == world.shop.texts("u1")


async def test_token_expired(world: World) -> None:
    device = await settled(world)
    world.store.expire("state:")
    answer = await device.once()
    assert answer["mode"] == "snapshot"
    assert answer["collections"]["notes"]["reset"]
    assert device.texts() == world.shop.texts("u1")


async def test_token_tampered_with(world: World) -> None:
    device = await settled(world)
    token = device.token or ""
    for place in (0, 3, 8, 40, len(token) - 2):
        other = "A" if token[place] != "A" else "B"
        message = device.request() | {"token": token[:place] + other + token[place + 1 :]}
        response = await device.post(message)
        assert response.status_code == 200
        assert response.json()["mode"] == "snapshot"
    for junk in ("", "x", "ä", "=" * 92, token * 2):
        response = await device.post(device.request() | {"token": junk})
        assert response.json()["mode"] == "snapshot"


async def test_token_of_another_user_client_or_schema(world: World) -> None:
    device = await settled(world)
    world.shop.put("u2", "secret", "of u2")
    other = world.device("u2", name=device.name)
    other.token = device.token
    answer = await other.once()
    assert answer["mode"] == "snapshot"
    assert other.texts() == {"secret": "of u2"}
    twin = world.device("u1")
    twin.token = device.token
    assert (await twin.once())["mode"] == "snapshot"
    device.schema += 1
    assert (await device.once())["mode"] == "snapshot"


async def test_token_before_key_rotation() -> None:
    shop, store, old, new = Shop(), MemoryStore(), key(), key()
    shop.fill("u1", 5)
    app, _ = make_app(shop, store, Clock(), keys=[old])
    async with bff_client(app) as http:
        device = Device(http)
        await device.sync()
    for keys, mode, kept in (([new, old], "delta", False), ([new], "delta", True), ([key()], "snapshot", False)):
        app, _ = make_app(shop, store, Clock(), keys=keys)
        async with bff_client(app) as http:
            device.http, before = http, device.token
            assert (await device.once())["mode"] == mode
            # A token of an old key comes back sealed with the newest.
            assert (device.token == before) == kept
            assert device.texts() == shop.texts("u1")


# Response lost, old token retried ten times: same final state.


async def test_response_lost_and_old_token_retried_ten_times(world: World) -> None:
    device = await settled(world)
    world.shop.put("u1", "n3", "changed")
    world.shop.put("u1", "new", "added")
    answers = [(await device.post()).json() for _ in range(10)]
    assert len({json.dumps(answer["collections"]) for answer in answers}) == 1
    device.apply(answers[-1])
    assert device.texts() == world.shop.texts("u1")
    assert len([name for name in world.store.values if name.startswith("state:")]) == 2, "each state is stored once"
    await device.sync()
    assert len([name for name in world.store.values if name.startswith("state:")]) == 1, "the old one goes"


# Upstream 500, timeout, truncated page, empty 200: no deletes; stale listed.

FAULTS: dict[str, Any] = {
    "500": lambda _: httpx.Response(500),
    "timeout": lambda _: httpx.ReadTimeout("late"),
    "unreachable": lambda _: httpx.ConnectError("refused"),
    "lost": lambda _: httpx.RemoteProtocolError("cut off"),
    "truncated": lambda _: httpx.Response(200, content=b'{"items": [{"id": "n0", "te'),
    "other shape": lambda _: httpx.Response(200, json={"items": [{"id": 5}]}),
    "no key": lambda _: httpx.Response(200, json={"items": [{"id": "", "text": ""}], "next": None}),
    "empty": lambda _: httpx.Response(200, json={"items": [], "next": None}),
    "short": lambda _: httpx.Response(200, json={"items": [{"id": "n0", "text": "text 0"}], "next": None}),
    "round": lambda _: httpx.Response(200, json={"items": [{"id": "n0", "text": "text 0"}], "next": "0"}),
    "forbidden": lambda _: httpx.Response(403),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_upstream_fault(world: World, fault: str) -> None:
    device = await settled(world)
    world.shop.before = FAULTS[fault]
    for _ in range(3):
        answer = await device.sync()
        assert "del" not in answer["collections"].get("notes", {})
        assert answer["stale"] == ["notes"]
        assert device.texts() == world.shop.texts("u1")
    world.shop.before = lambda _: None
    assert "stale" not in await device.sync()
    assert device.texts() == world.shop.texts("u1")


async def test_upstream_fails_at_the_first_sync(world: World) -> None:
    world.shop.fill("u1", 3)
    world.shop.before = FAULTS["500"]
    device = world.device()
    device.data = {"notes": {"old": {"id": "old", "text": "from long ago", "_v": "x"}}}
    answer = await device.once()
    assert (answer["collections"], answer["stale"]) == ({}, ["notes"]), "what it has is not taken away for nothing"
    world.shop.before = lambda _: None
    await device.sync()
    assert device.texts() == world.shop.texts("u1")


async def test_an_empty_listing_when_the_token_is_lost_too(world: World) -> None:
    device = await settled(world)
    world.store.expire("state:")
    world.shop.before = FAULTS["empty"]
    answer = await device.sync()
    assert (answer["collections"], answer["stale"], answer["poll_after"]) == ({}, ["notes"], 60)
    assert device.texts() == world.shop.texts("u1")
    world.shop.before = lambda _: None
    await device.sync()
    assert device.texts() == world.shop.texts("u1")


async def test_an_empty_listing_at_the_first_sync(world: World) -> None:
    device = world.device()
    answer = await device.sync()
    assert answer["collections"] == {"notes": {"reset": True, "complete": True}}
    assert "stale" not in answer


async def test_upstream_fails_half_way(world: World) -> None:
    world.shop.fill("u1", 100)
    device = world.device()
    world.shop.before = lambda request: httpx.Response(500) if request.url.params.get("cursor") == "60" else None
    answer = await device.sync()
    assert answer["stale"] == ["notes"]
    assert len(device.texts()) == 60
    world.shop.before = lambda _: None
    world.shop.forget()
    await device.sync()
    assert device.texts() == world.shop.texts("u1")
    assert len(world.shop.requests) == 2, "it goes on where it was interrupted"


async def test_a_refused_cursor_begins_anew(world: World) -> None:
    world.shop.fill("u1", 60)
    device = world.device()
    world.shop.before = lambda request: httpx.Response(500) if request.url.params.get("cursor") == "40" else None
    await device.sync()
    world.shop.before = lambda request: httpx.Response(400) if request.url.params.get("cursor") == "40" else None
    assert (await device.sync())["stale"] == ["notes"]
    world.shop.before = lambda _: None
    del world.shop.notes["u1"]["n0"]
    await device.sync()
    assert device.texts() == world.shop.texts("u1")


async def test_other_collections_are_answered(world: World) -> None:
    world.shop.tags = [{"name": "red", "color": "#f00"}]
    world.shop.fill("u1", 3)
    device = world.device(collections=["notes", "tags"])
    world.shop.before = lambda request: httpx.Response(500) if request.url.host == "notes.test" else None
    answer = await device.sync()
    assert answer["stale"] == ["notes"]
    assert [(item["id"], item["name"]) for item in device.data["tags"].values()] == [("red", "red")]


# Item shifts pages during enumeration: no false delete.


async def test_item_shifts_pages(world: World) -> None:
    device = await settled(world, 60)
    moved = []

    def shift(request: httpx.Request) -> None:
        # Between the first page and the second an item of the first is deleted: n20 is on neither.
        if request.url.params.get("cursor") == "20" and not moved:
            moved.append(world.shop.notes["u1"].pop("n0"))

    world.shop.before = shift
    # A tag that matches would spare the enumeration of what moved.
    world.shop.put("u1", "n59", "changed")
    for _ in range(4):
        answer = await device.once()
        gone = set(answer["collections"]["notes"].get("del", ()))
        assert gone <= {"n0"}, "n20 is there"
        assert set(world.shop.texts("u1")) <= set(device.texts())
    assert device.texts() == world.shop.texts("u1")


async def test_items_shift_at_every_enumeration(world: World) -> None:
    device = await settled(world, 60)

    def shift(request: httpx.Request) -> None:
        if request.url.params.get("cursor") == "20":
            notes = world.shop.notes["u1"]
            first = next(iter(notes))
            notes[first] = notes.pop(first)  # the first becomes the last

    world.shop.before = shift
    del world.shop.notes["u1"]["n30"]
    for _ in range(5):
        answer = await device.sync()
        assert answer["stale"] == ["notes"], "nobody can tell what is there"
        assert set(world.shop.texts("u1")) <= set(device.texts())
    world.shop.before = lambda _: None
    await device.sync()
    assert device.texts() == world.shop.texts("u1")


# Clock a day off anywhere: no missed row.


async def test_clocks_of_replicas_differ_by_days() -> None:
    shop, store, clock = Shop(), MemoryStore(), Clock()
    shop.fill("u1", 30)
    offsets = (0, 86400, -86400)
    apps = [make_app(shop, store, lambda offset=offset: clock() + offset)[0] for offset in offsets]
    device: Device | None = None
    for number, app in enumerate(apps * 4):
        async with bff_client(app) as http:
            device = device or Device(http)
            device.http = http
            shop.put("u1", f"n{number}", f"changed {number}")
            shop.put("u1", f"new{number}", "added")
            del shop.notes["u1"][f"n{29 - number}"]
            clock.now += 100
            await device.sync()
            assert device.texts() == shop.texts("u1")


async def test_clock_of_a_device_is_not_asked(world: World) -> None:
    device = await settled(world)
    assert not {"time", "since", "timestamp"} & device.request().keys()


# Permission revoked, field list changed: del, re-put.


async def test_permission_revoked(world: World) -> None:
    device = await settled(world, 15)
    for name in ("n1", "n2"):
        del world.shop.notes["u1"][name]
    answer = await device.sync()
    assert set(answer["collections"]["notes"]["del"]) == {"n1", "n2"}
    assert device.texts() == world.shop.texts("u1")


async def test_all_permissions_revoked(world: World) -> None:
    device = await settled(world, 15)
    world.shop.notes["u1"].clear()
    assert (await device.sync())["stale"] == ["notes"]
    world.clock.now += 61
    answer = await device.sync()
    assert len(answer["collections"]["notes"]["del"]) == 15
    assert device.texts() == {}


async def test_field_list_changed(world: World) -> None:
    device = await settled(world, 25)
    device.collections = {"notes": {"fields": ["text"]}}
    await device.sync()
    assert device.data["notes"]["n1"].keys() == {"id", "text", "_v"}
    device.collections = {"notes": {}}
    await device.sync()
    assert device.data["notes"]["n1"].keys() == {"id", "text", "rank", "_v"}
    assert device.texts() == world.shop.texts("u1")


async def test_a_field_that_is_not_wanted_changes_nothing(world: World) -> None:
    device = await settled(world, 25)
    device.collections = {"notes": {"fields": ["text"]}}
    await device.sync()
    world.shop.notes["u1"]["n1"]["rank"] = 7
    assert (await device.sync())["collections"]["notes"] == {"complete": True}


# App killed in the middle of a page: resumes from the last page token.


async def test_app_killed_between_pages(world: World) -> None:
    world.shop.fill("u1", 100)
    device = world.device()
    device.limit = 7
    total = 0
    for number in range(100):
        answer = await device.once()
        put = len(answer["collections"]["notes"].get("put", ()))
        assert put <= 7
        total += put
        if number % 3 == 0:
            await device.post()  # an answer it never sees: the app is killed, the token is the last one it stored
        if not answer["more"]:
            break
    assert device.texts() == world.shop.texts("u1")
    assert total == 100, "nothing is sent twice"


# Two devices edit one version: one applied, one conflict with the server's item.


async def test_two_devices_edit_one_version(world: World) -> None:
    one = await settled(world)
    two = world.device()
    await two.sync()
    version = one.data["notes"]["n5"]["_v"]
    first = one.mutate("note.append", note_id="n5", text={"text": " one"}, if_version=version)
    second = two.mutate("note.append", note_id="n5", text={"text": " two"}, if_version=version)
    await one.sync()
    await two.sync()
    assert one.final[first] == {"id": first, "status": "applied"}
    assert two.final[second]["status"] == "conflict"
    assert two.final[second]["item"] == one.data["notes"]["n5"] == two.data["notes"]["n5"]
    assert world.shop.texts("u1")["n5"] == "text 5 one"


async def test_two_devices_edit_one_version_at_the_same_time(world: World) -> None:
    one = await settled(world)
    two = world.device()
    await two.sync()
    version = one.data["notes"]["n5"]["_v"]
    for device in (one, two):
        device.mutate("note.append", note_id="n5", text={"text": "!"}, if_version=version)
    async with anyio.create_task_group() as group:
        group.start_soon(one.sync)
        group.start_soon(two.sync)
    await one.sync()
    await two.sync()
    statuses = sorted(result["status"] for device in (one, two) for result in device.final.values())
    assert statuses == ["applied", "conflict"]
    assert world.shop.texts("u1")["n5"] == "text 5!"


async def test_an_edit_of_what_is_gone(world: World) -> None:
    device = await settled(world, 5)
    version = device.data["notes"]["n2"]["_v"]
    del world.shop.notes["u1"]["n2"]
    id_ = device.mutate("note.append", note_id="n2", text={"text": "!"}, if_version=version)
    await device.sync()
    assert device.final[id_] == {"id": id_, "status": "conflict", "item": None}


# Duplicate, gapped, reordered seq: ignored; never applied out of order.


async def test_duplicate_mutation(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "!"})
    message = device.request()
    answers = [(await device.post(message)).json() for _ in range(5)]
    assert [answer["results"] for answer in answers] == [[{"id": id_, "status": "applied"}]] * 5
    assert world.shop.effects == ["!"]


async def test_gapped_mutation(world: World) -> None:
    device = await settled(world)
    device.mutate("note.append", note_id="n1", text={"text": "a"})
    await device.sync()
    device.mutate("note.append", note_id="n1", text={"text": "b"})
    device.mutate("note.append", note_id="n1", text={"text": "c"})
    answer = (await device.post(device.request() | {"mutations": device.outbox[1:]})).json()
    assert answer["results"][0]["status"] == "retry"
    assert answer["results"][0]["problem"]["type"] == "urn:bff:sync:gap"
    assert answer["results"][0]["problem"]["expected"] == 2
    assert world.shop.effects == ["a"]
    await device.sync()
    assert world.shop.effects == ["a", "b", "c"]


async def test_reordered_mutations(world: World) -> None:
    device = await settled(world)
    for letter in "abcd":
        device.mutate("note.append", note_id="n1", text={"text": letter})
    await device.post(device.request() | {"mutations": device.outbox[::-1]})
    assert world.shop.effects == ["a", "b", "c", "d"]


async def test_a_number_used_for_another_mutation(world: World) -> None:
    """Two installations that were restored from one backup."""
    device = await settled(world)
    clone = world.device(name=device.name)
    device.mutate("note.append", note_id="n1", text={"text": "a"})
    await device.sync()
    clone.mutate("note.append", note_id="n1", text={"text": "b"})
    clone.outbox[0]["id"] = "of the clone"
    await clone.sync()
    assert clone.final["of the clone"]["status"] == "rejected"
    assert clone.final["of the clone"]["problem"]["type"] == "urn:bff:sync:seq-taken"
    assert world.shop.effects == ["a"]


async def test_an_outbox_that_nobody_remembers(world: World) -> None:
    device = await settled(world)
    device.mutate("note.append", note_id="n1", text={"text": "a"})
    await device.sync()
    world.store.expire("outbox:")
    device.mutate("note.append", note_id="n1", text={"text": "b"})
    await device.sync()
    assert world.shop.effects == ["a", "b"]


# Poison mutation: acked rejected; later ones proceed.

POISON: list[dict[str, Any]] = [
    {"op": "note.append", "args": {"note_id": "n1", "text": {"text": "forbidden"}}},
    {"op": "note.append", "args": {"note_id": "missing", "text": {"text": "a"}}},
    {"op": "note.append", "args": {"note_id": "..", "text": {"text": "a"}}},
    {"op": "note.append", "args": {"note_id": "n1"}},
    {"op": "note.append", "args": {"note_id": "n1", "text": {"text": "a"}, "user_id": "u2"}},
    {"op": "note.append", "args": None},
    {"op": "note.append", "args": [1]},
    {"op": "no.such", "args": {}},
    {"op": "", "args": {}},
]


@pytest.mark.parametrize("poison", POISON, ids=str)
async def test_poison_mutation(world: World, poison: dict[str, Any]) -> None:
    device = await settled(world)
    bad = device.mutate(poison["op"])
    device.outbox[-1]["args"] = poison["args"]
    good = device.mutate("note.append", note_id="n1", text={"text": "good"})
    await device.sync()
    assert device.final[bad]["status"] == "rejected"
    assert device.final[bad]["problem"]
    assert device.final[good]["status"] == "applied"
    assert device.ack == 2
    assert world.shop.effects == ["good"]


async def test_poison_that_breaks_the_service(world: World) -> None:
    device = await settled(world)
    bad = device.mutate("note.append", note_id="n1", text={"text": "boom"})
    good = device.mutate("note.append", note_id="n1", text={"text": "good"})
    world.shop.before = lambda request: httpx.Response(500) if b"boom" in request.content else None
    for _ in range(4):
        answer = await device.once()
        assert [(result["id"], result["status"]) for result in answer["results"]] == [(bad, "retry")]
    await device.sync()
    assert device.final[bad]["status"] == "unknown"
    assert device.final[good]["status"] == "applied"


async def test_an_outage_is_waited_for(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "a"})
    for fault in ("unreachable", 503, 429, 502, 504) * 5:
        world.shop.before = lambda request, fault=fault: (
            None if request.method == "GET" else FAULTS[fault](request) if fault in FAULTS else httpx.Response(fault)
        )
        answer = await device.sync()
        assert answer["results"][0]["status"] == "retry"
        assert answer["poll_after"] == 5
    world.shop.before = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == "applied"
    assert world.shop.effects == ["a"]


async def test_a_conflict_that_the_service_sees(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "locked"})
    await device.sync()
    assert device.final[id_]["status"] == "conflict"
    assert device.final[id_]["item"]["text"] == "text 1"
    assert device.final[id_]["problem"]["detail"] == "The note is locked."


# Crash after the upstream write, before the ack: one effect, or an explicit unknown.


@pytest.mark.parametrize("op", ["note.append", "note.write", "note.bump"])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("at", range(12))
async def test_crash_at_any_call_of_the_store(at: int, lost: bool, op: str) -> None:
    """The gateway dies at each of the store's calls, before or after it took effect; the device asks another."""

    class Crash(BaseException):
        pass

    shop, store = Shop(), MemoryStore()
    shop.fill("u1", 5)
    app, _ = make_app(shop, store, Clock())
    async with bff_client(app) as http:
        device = Device(http)
        await device.sync()
        arguments = {} if op == "note.bump" else {"text": {"text": "!"}}
        id_ = device.mutate(op, note_id="n1", **arguments)
        store.calls.clear()
        store.fail_at, store.lost, store.crash = at, lost, Crash
        with contextlib.suppress(Crash):
            await device.post()
        store.fail_at = None
    store.expire("lease:")
    app, _ = make_app(shop, store, Clock())
    async with bff_client(app) as http:
        device.http = http
        await device.sync()
        status = device.final[id_]["status"]
        assert device.outbox == []
        if op == "note.bump":
            assert (status, len(shop.effects)) in [("applied", 1), ("unknown", 0), ("unknown", 1)]
        elif op == "note.append":
            assert (status, len(shop.effects)) == ("applied", 1)
        else:  # a PUT is sent again: that it is done twice cannot be told from once
            assert (status, shop.texts("u1")["n1"]) == ("applied", "!")
        assert device.texts() == shop.texts("u1")
        assert device.ack == 1


@pytest.mark.parametrize("op", ["note.append", "note.bump"])
async def test_answer_of_the_service_lost(world: World, op: str) -> None:
    device = await settled(world)
    id_ = device.mutate(op, note_id="n1", **({} if op == "note.bump" else {"text": {"text": "!"}}))
    world.shop.after = lambda request: None if request.method == "GET" else httpx.ReadError("cut off")
    answer = await device.sync()
    assert answer["results"][0]["status"] == ("retry" if op == "note.append" else "unknown")
    world.shop.after = lambda _: None
    await device.sync()
    assert device.final[id_]["status"] == ("applied" if op == "note.append" else "unknown")
    assert len(world.shop.effects) == 1
    assert device.texts() == world.shop.texts("u1")


# Acknowledgements are never ahead of the data.


async def test_a_write_in_the_middle_of_an_enumeration(world: World) -> None:
    """Its effect is on a page that was read before: it is acknowledged when that was read again, at once."""
    world.shop.fill("u1", 60)
    device = world.device()
    device.limit = 20
    await device.once()
    device.mutate("note.append", note_id="n1", text={"text": "!"})
    answers = []
    while not answers or answers[-1]["more"]:
        answers.append(await device.once())
        assert (device.ack == 1) == (device.texts()["n1"] == "text 1!")
    assert device.ack == 1


async def test_a_write_is_not_acknowledged_while_its_collection_is_stale(world: World) -> None:
    device = await settled(world)
    id_ = device.mutate("note.append", note_id="n1", text={"text": "!"})
    world.shop.before = lambda request: httpx.Response(500) if request.method == "GET" else None
    answer = await device.sync()
    assert device.final[id_]["status"] == "applied"
    assert (answer["ack"], answer["stale"]) == (0, ["notes"])
    world.shop.before = lambda _: None
    assert (await device.sync())["ack"] == 1
    assert device.texts()["n1"] == "text 1!"


async def test_an_edit_between_the_look_and_the_lease(world: World) -> None:
    device = await settled(world)
    looks: list[str] = []

    def edit(request: httpx.Request) -> None:
        if request.url.path.endswith("/notes/n5") and not looks:
            looks.append("the first")
            world.shop.put("u1", "n5", "edited by another")

    world.shop.after = edit
    version = device.data["notes"]["n5"]["_v"]
    id_ = device.mutate("note.append", note_id="n5", text={"text": "!"}, if_version=version)
    await device.sync()
    assert device.final[id_]["status"] == "conflict"
    assert world.shop.texts("u1")["n5"] == "edited by another"


async def test_nobody_holds_up_an_item_that_they_may_not_see(world: World) -> None:
    device = await settled(world)
    world.store.calls.clear()
    for note_id in ("n1", "of somebody else"):
        device.mutate("note.append", note_id=note_id, text={"text": "!"}, if_version="AAAAAAAAAAA")
    await device.sync()
    assert [key for _, key in world.store.calls if key.startswith("item:")] == []
