"""The edges of ``POST /sync`` and ``GET /sync/poke``, and mistakes in declarations."""

from __future__ import annotations

import gzip
import json
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from pydantic import BaseModel

from bff_core import Collection, DeclarationError, Principal, Quota, Settings, SettingsError, create_bff, mutation
from bff_core.stores import open_store
from bff_core.sync.service import owner_of
from bff_core.testing import bff_client
from tests.users import UserHeader

from .conftest import Clock, World, make_app
from .device import Device
from .shop import Note, NotesService, NoteView, Shop, TagsService, collections, mutations, user, view
from .stores import MemoryStore

pytestmark = pytest.mark.anyio


async def test_who_is_nobody_syncs_nothing(world: World) -> None:
    assert (await world.http.post("/sync", json={"client": "c"})).status_code == 401
    assert (await world.http.get("/sync/poke")).status_code == 401
    assert world.store.calls == []


async def test_syncs_are_under_the_gateways_limits() -> None:
    """By address before authentication, by user after it; both routes."""
    limits = [Quota("address", 3, per="day", key="client_ip"), Quota("user", 1, per="day", key="principal")]
    app, _ = make_app(Shop(), MemoryStore(), Clock(), limits=limits)
    async with bff_client(app) as client:
        alice = {"x-user": "alice"}
        assert (await client.post("/sync", json={"client": "c"}, headers=alice)).status_code == 200
        assert (await client.post("/sync", json={"client": "c"}, headers=alice)).status_code == 429
        assert (await client.get("/sync/poke", headers=alice)).status_code == 429
        # What is refused has used up nothing, not even of the address's.
        assert [(await client.get("/sync/poke")).status_code for _ in range(3)] == [401, 401, 429]


WRONG: list[tuple[Any, int]] = [
    ({}, 422),
    ({"client": "a b"}, 422),
    ({"client": "c" * 65}, 422),
    ({"client": "c", "limit": 0}, 422),
    ({"client": "c", "mutations": [{"id": "m"}]}, 422),
    ({"client": "c", "mutations": [{"id": "m", "seq": 0}]}, 422),
    ({"client": "c", "mutations": [{"id": f"m{n}", "seq": n + 1} for n in range(101)]}, 422),
    ({"client": "c", "have": {"notes": ["n1"]}}, 422),
    ([], 422),
]


@pytest.mark.parametrize(("message", "status"), WRONG, ids=str)
async def test_what_is_not_of_this_protocol(world: World, message: Any, status: int) -> None:
    answer = await world.http.post("/sync", json=message, headers={"x-user": "u1"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_too_large_or_no_json(world: World) -> None:
    headers = {"x-user": "u1", "content-type": "application/json"}
    assert (await world.http.post("/sync", content=b"x" * 2_000_000, headers=headers)).status_code == 413
    assert (await world.http.post("/sync", content=b"{}", headers={"x-user": "u1"})).status_code == 415


async def test_a_store_that_is_down_takes_nothing_away(world: World) -> None:
    world.shop.fill("u1", 3)
    device = world.device()
    await device.sync()
    device.mutate("note.append", note_id="n1", text={"text": "!"})
    world.store.down = True
    answer = await device.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    world.store.down = False
    await device.sync()
    assert world.shop.effects == ["!"]


async def test_credentials_go_with_every_call() -> None:
    """What relays a token, or exchanges one, is asked for the services' calls of a sync as well."""

    class Credentials:
        header = "authorization"

        def ready(self, principal: Principal) -> bytes | None:
            return None

        async def obtain(self, principal: Principal) -> bytes:
            return f"authorization: Bearer of {principal.subject}\r\n".encode()

        async def aclose(self) -> None:
            pass

    shop = Shop()
    shop.fill("u1", 2)
    app, _ = make_app(shop, MemoryStore(), Clock())
    for client in app.clients.values():
        for bound in client.bound.values():
            bound.credentials = Credentials()
    async with bff_client(app) as http:
        device = Device(http)
        await device.sync()
        device.mutate("note.append", note_id="n1", text={"text": "!"}, if_version=device.data["notes"]["n1"]["_v"])
        await device.sync()
    assert shop.effects == ["!"]
    assert {request.headers.get("authorization") for request in shop.requests} == {"Bearer of u1"}


async def test_other_scopes_are_not_another_client() -> None:
    one, other = (Principal("u1", scopes=frozenset(scopes)) for scopes in (["a"], ["a", "b"]))
    assert owner_of(one, "c") == owner_of(other, "c") != owner_of(Principal("u1", issuer="i"), "c")


async def test_answers_are_private(world: World) -> None:
    answer = await world.device().post()
    assert answer.headers["cache-control"] == "private, no-store"


async def test_long_answers_are_compressed() -> None:
    """As the gateway's pages are, and no other way: there is no entity tag, and a short answer stays as it is."""
    shop = Shop()
    shop.fill("u1", 100)
    app, _ = make_app(shop, MemoryStore(), Clock(), delivery={"codings": ("gzip",)})
    async with bff_client(app, headers={"x-user": "u1"}) as http:
        sizes = {}
        for coding in ("gzip", "identity"):
            async with http.stream(
                "POST", "/sync", json={"client": "c1"}, headers={"accept-encoding": coding}
            ) as answer:
                assert answer.headers.get("content-encoding", "identity") == coding
                assert (answer.headers["vary"], "etag" in answer.headers) == ("Accept-Encoding", False)
                raw = b"".join([part async for part in answer.aiter_raw()])
            sizes[coding] = len(raw)
            text = gzip.decompress(raw) if coding == "gzip" else raw
            assert len(json.loads(text)["collections"]["notes"]["put"]) == 100
            token = json.loads(text)["token"]
        assert sizes["gzip"] < sizes["identity"] / 2
        short = await http.post("/sync", json={"client": "c1", "token": token}, headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in short.headers


async def test_collections_of_another_time_do_not_hold_up_the_outbox(world: World) -> None:
    world.shop.fill("u1", 3)
    device = world.device(collections=["notes", "no-more"])
    id_ = device.mutate("note.append", note_id="n1", text={"text": "!"})
    answer = await device.sync()
    assert answer["stale"] == ["no-more"]
    assert device.final[id_]["status"] == "applied"
    assert device.ack == 1


async def test_only_a_push(world: World) -> None:
    world.shop.fill("u1", 3)
    device = world.device(collections=[])
    device.mutate("note.append", note_id="n1", text={"text": "!"})
    answer = await device.sync()
    assert (answer["ack"], answer["collections"]) == (1, {})


@pytest.mark.parametrize("have", [{"notes": {"": "x", "a\nb": "y", "n1": "junk"}}, {"none": {}}, {}])
async def test_a_manifest_that_makes_no_sense(world: World, have: Any) -> None:
    world.shop.fill("u1", 3)
    answer = await world.device().post({"client": "c", "have": have})
    assert len(answer.json()["collections"]["notes"]["put"]) == 3


async def test_fields_that_there_are_not(world: World) -> None:
    world.shop.fill("u1", 1)
    message = {"client": "c", "collections": {"notes": {"fields": ["owner", "__class__"]}}}
    (item,) = (await world.device().post(message)).json()["collections"]["notes"]["put"]
    assert item.keys() == {"id", "text", "rank", "_v"}, "as if it had asked for nothing in particular"


async def test_limits_in_bytes(world: World) -> None:
    for number in range(20):
        world.shop.put("u1", f"n{number}", "x" * 100_000)
    device = world.device()
    for _ in range(10):
        response = await device.post()
        assert len(response.content) < 600_000
        device.apply(response.json())
        if not response.json()["more"]:
            break
    assert device.texts() == world.shop.texts("u1")


async def test_a_request_under_way_keeps_another_of_the_same_client_out() -> None:
    shop, store = Shop(), MemoryStore()
    shop.fill("u1", 3)
    app, _ = make_app(shop, store, Clock())
    async with bff_client(app) as http:
        device = Device(http)
        await device.sync()
        device.mutate("note.append", note_id="n1", text={"text": "!"})
        await store.swap(
            f"lease:{next(k for k in store.values if k.startswith('state:')).split(':')[1]}", None, b"x", 5
        )
        answer = await device.once()
        assert answer["results"][0]["status"] == "retry"
        assert answer["results"][0]["problem"]["type"] == "urn:bff:sync:busy"
        assert shop.effects == []
        store.expire("lease:")
        await device.sync()
        assert shop.effects == ["!"]


async def test_one_client_at_two_replicas_over_valkey(valkey_url: str) -> None:
    """The same mutations sent to both at the same time, again and again: each is done once."""
    shop = Shop()
    shop.fill("u1", 5)
    stores = [open_store(valkey_url, namespace="m:sync", timeout=20) for _ in range(2)]
    (one, _), (two, _) = (make_app(shop, store, Clock()) for store in stores)
    async with bff_client(one) as first, bff_client(two) as second:
        device = Device(first)
        for number in range(20):
            device.mutate("note.append", note_id="n1", text={"text": f"<{number}>"})
            message, answers = device.request(), []

            async def ask(http: httpx.AsyncClient, message: Any = message, answers: Any = answers) -> None:
                answers.append((await http.post("/sync", content=json.dumps(message), headers=device.headers)).json())

            async with anyio.create_task_group() as group:
                for http in (first, second, first, second):
                    group.start_soon(ask, http)
            device.apply(answers[0])
        await device.sync()
        assert shop.effects == [f"<{number}>" for number in range(20)]
        assert device.texts() == shop.texts("u1")


async def test_a_mutation_pokes_the_others() -> None:
    shop, poked = Shop(), []
    settings = Settings(services=shop.settings, log_level="CRITICAL")
    app = create_bff(
        "m", settings=settings, clients=[NotesService, TagsService], auth=UserHeader(), transport=shop.transport
    )
    sync = app.sync("/sync", collections=collections(), mutations=mutations(), on_poke=poked.append)
    async with bff_client(app) as http:
        received: list[bytes] = []
        gone = anyio.Event()

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            received.append(message.get("body", b""))

        async with anyio.create_task_group() as group:
            group.start_soon(sync.pokes.stream, Principal("u1"), receive, send)
            await anyio.lowlevel.checkpoint()
            device = Device(http)
            shop.fill("u1", 2)
            device.mutate("note.append", note_id="n1", text={"text": "!"})
            await device.sync()
            other = Device(http, "u2")
            other.mutate("note.add", note={"text": "x"})
            await other.sync()
            while b"event: poke\ndata:\n\n" not in received:
                await anyio.sleep(0.001)
            gone.set()
        assert received.count(b"event: poke\ndata:\n\n") == 1
        assert [principal.subject for principal in poked] == ["u1", "u2"]
        assert sync.pokes._listeners == {}


async def test_openapi_has_the_protocol() -> None:
    app, _ = make_app(Shop(), MemoryStore(), Clock())
    document = app.openapi()
    assert "SyncRequest" in document["components"]["schemas"]
    assert document["paths"]["/sync"]["post"]["security"] == [{"gateway": []}]


# Declarations.


class Odd(BaseModel):
    id: str
    token: str


WRONG_COLLECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"listing": NotesService.add}, "a listing is a GET"),
    ({"key": "name"}, "has no 'name'"),
    ({"key": "text"}, "would take for"),
    ({"items": "rows"}, "nothing with 'rows'"),
    ({"user_id": None, "limit": None, "drop": "user_id"}, "needs 'user_id'"),
    ({"nothing": 1}, "no parameter 'nothing'"),
    ({"lookup": NotesService.of_user}, "the id"),
    ({"user_id": lambda who: who}, "takes 'who'"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_COLLECTIONS, ids=[message for _, message in WRONG_COLLECTIONS])
async def test_wrong_collections(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"listing": NotesService.of_user, "model": NoteView, "project": view, "user_id": user}
    options |= changes
    if dropped := options.pop("drop", None):
        del options[dropped], options["limit"]
    with pytest.raises(DeclarationError, match=message):
        Collection("notes", **options)


WRONG_MUTATIONS: list[tuple[Any, dict[str, Any], str]] = [
    (NotesService.note, {"user_id": user}, "is a GET"),
    (NotesService.write, {"item": "other", "touches": ["notes"], "user_id": user}, "no argument 'other'"),
    (NotesService.write, {"item": "note_id", "user_id": user}, "of which collection"),
    (NotesService.write, {"text": lambda body: body, "user_id": user}, "say of which type"),
]


@pytest.mark.parametrize(("operation", "options", "message"), WRONG_MUTATIONS, ids=[m for _, _, m in WRONG_MUTATIONS])
async def test_wrong_mutations(operation: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        mutation("m", operation, **options)


async def test_wrong_gateways() -> None:
    shop = Shop()
    settings = Settings(services=shop.settings, log_level="CRITICAL")
    app = create_bff("m", settings=settings, clients=[NotesService], transport=shop.transport)
    with pytest.raises(DeclarationError, match="no authentication"):
        app.sync("/sync", collections=[])
    app = create_bff("m", settings=settings, clients=[NotesService], auth=UserHeader(), transport=shop.transport)
    with pytest.raises(DeclarationError, match="TagsService"):
        app.sync("/sync", collections=collections())
    with pytest.raises(DeclarationError, match="two collections called 'notes'"):
        app.sync("/sync", collections=collections()[:1] * 2)
    with pytest.raises(DeclarationError, match="no collection here"):
        app.sync("/sync", collections=[], mutations=mutations())
    with pytest.raises(SettingsError, match="32 random bytes"):
        app.sync("/sync", collections=[], keys=["short"])


async def test_projection_by_the_models_own_validation() -> None:
    notes = Collection("notes", NotesService.of_user, NoteView, user_id=user)
    row = notes.projection().row(Note(id="a", text="b", rank=3, owner="secret"))
    assert row.content == b'{"id":"a","text":"b","rank":3}'


async def test_members_of_free_objects_have_one_order() -> None:
    class Free(BaseModel):
        id: str
        more: dict[str, int]

    free = Collection("free", NotesService.of_user, Free, project=lambda item: item, user_id=user)
    rows = [free.projection().row(Free(id="a", more=more)) for more in ({"x": 1, "y": 2}, {"y": 2, "x": 1})]
    assert rows[0].version == rows[1].version


async def test_sets_have_no_order() -> None:
    class Loose(BaseModel):
        id: str
        more: frozenset[str]

    with pytest.raises(DeclarationError, match="has a set"):
        Collection("loose", NotesService.of_user, Loose, project=lambda item: item, user_id=user)


async def test_what_changes_the_items_changes_the_fingerprint() -> None:
    def made(**options: Any) -> str:
        return Collection("n", NotesService.of_user, NoteView, user_id=user, **options).projection().fingerprint

    fields = Collection("n", NotesService.of_user, NoteView, user_id=user).projection(frozenset(["text"])).fingerprint
    assert len({made(), made(project=view), made(revision=2), made(limit=50), fields}) == 5
    assert made() == made()


async def test_what_is_pushed_is_no_longer_kept(world: World) -> None:
    """Nobody who asks for a target from now on gets what it was before; what was refused has changed nothing."""
    world.shop.fill("u1", 2)
    changes = world.sync._sinks["note.append"]._bound.responses._changes
    device = world.device()
    await device.sync()
    device.mutate("note.append", note_id="n0", text={"text": "x"})
    await device.sync()
    assert [name for name in changes._at if b"n0" in name]
    world.shop.before = lambda request: httpx.Response(422) if request.method != "GET" else None
    device.mutate("note.append", note_id="n1", text={"text": "x"})
    await device.sync()
    assert not [name for name in changes._at if b"n1" in name]
