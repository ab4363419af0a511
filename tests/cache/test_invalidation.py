"""A write that was accepted makes what is kept of its URI worth nothing (RFC 9111 section 4.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    ApiKeys,
    Bff,
    Page,
    ServiceClient,
    Settings,
    create_bff,
    delete,
    get,
    patch,
    post,
    put,
    required,
)
from bff_core.cache import MemoryStore, ValkeyStore
from bff_core.testing import FakeServices, bff_client
from tests.cache.responses import stored
from tests.cache.test_response_cache import KEYS
from tests.servers import ValkeyProcess


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/notes/{key}")
    async def note(self, key: str) -> Note: ...

    @get("/notes/{key}")
    async def part(self, key: str, part: int) -> Note: ...

    @put("/notes/{key}")
    async def put(self, key: str, note: Note) -> None: ...

    @post("/notes/{key}")
    async def post(self, key: str, note: Note) -> None: ...

    @patch("/notes/{key}")
    async def patch(self, key: str, note: Note) -> None: ...

    @delete("/notes/{key}")
    async def delete(self, key: str) -> None: ...


class Read(Page):
    note = required(Notes.note)


class Part(Page):
    note = required(Notes.part, part=1)


def writer(operation: Any) -> type[Page]:
    if operation.method == "DELETE":

        class Remove(Page):
            done = required(operation)

        return Remove

    class Write(Page):
        note: Note
        done = required(operation)

    return Write


class Origin:
    """Keeps one text; answers may be used for a minute. ``meanwhile`` runs once between a GET's reading and its
    answer."""

    def __init__(self, services: FakeServices) -> None:
        self.text, self.asked, self.status = "old", 0, 204
        self.meanwhile: asyncio.Event | None = None
        services["notes"].route().mock(side_effect=self)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.asked += 1
            text = self.text
            if self.meanwhile is not None:
                wait, self.meanwhile = self.meanwhile, None
                await wait.wait()
            return httpx.Response(200, json={"text": text}, headers={"cache-control": "max-age=60"})
        if self.status < 400:
            self.text = "new"
        return httpx.Response(self.status)


def gateway(services: FakeServices, **settings: Any) -> Bff:
    loaded = Settings(services=services.settings, log_level="CRITICAL", **settings)
    app = create_bff("t", settings=loaded, clients=[Notes], auth=ApiKeys(KEYS), transport=services.transport)
    app.page("/notes/{key}", Read)
    app.page("/parts/{key}", Part)
    for operation in (Notes.put, Notes.post, Notes.patch, Notes.delete):
        app.page(f"/{operation.name}/{{key}}", writer(operation), method="POST")
    return app


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("notes")


@pytest.fixture
def origin(services: FakeServices) -> Origin:
    return Origin(services)


@pytest.fixture
async def client(services: FakeServices, origin: Origin) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(gateway(services)) as client:
        yield client


async def read(client: httpx.AsyncClient, key: str = "one", path: str = "/notes/a") -> str:
    answer = await client.get(path, headers={"x-api-key": key})
    text: str = answer.json()["note"]["text"]
    return text


async def write(client: httpx.AsyncClient, how: str = "put", what: str = "a") -> int:
    return (await client.post(f"/{how}/{what}", json={"text": "new"}, headers={"x-api-key": "one"})).status_code


@pytest.mark.parametrize("how", ["put", "post", "patch", "delete"])
async def test_what_was_written_is_read(client: httpx.AsyncClient, origin: Origin, how: str) -> None:
    """By who wrote it, and by everybody else; what has another URI stays."""
    for key in ("one", "two"):
        assert await read(client, key) == "old"
        assert await read(client, key) == "old"
    await read(client, path="/notes/b")
    await read(client, path="/parts/a")
    assert origin.asked == 4
    assert await write(client, how) == 200
    assert [await read(client, key) for key in ("one", "two", "one", "two")] == ["new"] * 4
    assert origin.asked == 6
    assert [await read(client, path=path) for path in ("/notes/b", "/parts/a")] == ["old", "old"]
    assert origin.asked == 6


@pytest.mark.parametrize(("status", "read_then"), [(303, "new"), (404, "old"), (409, "old"), (500, "old")])
async def test_only_what_was_accepted(client: httpx.AsyncClient, origin: Origin, status: int, read_then: str) -> None:
    """A redirect is no error (RFC 9110 section 15); what was refused has changed nothing."""
    assert await read(client) == "old"
    origin.status = status
    assert await write(client) != 200
    origin.text = "new"
    assert await read(client) == read_then


async def test_an_answer_under_way_is_not_kept(client: httpx.AsyncClient, origin: Origin) -> None:
    """It may be from before the write: who waits for it gets it, who asks after the write does not."""
    origin.meanwhile = go_on = asyncio.Event()
    early = asyncio.create_task(read(client))
    while not origin.asked:
        await asyncio.sleep(0)
    assert await write(client) == 200
    assert await read(client) == "new"
    go_on.set()
    assert await early == "old"
    assert await read(client) == "new"


async def test_replicas_forget_what_they_share(services: FakeServices, origin: Origin) -> None:
    """The shared store too, for everybody; a replica that comes after that asks."""
    server = ValkeyProcess()
    try:
        async with bff_client(gateway(services, cache_url=server.url)) as first:
            for key in ("one", "two"):
                assert await read(first, key) == "old"
        async with bff_client(gateway(services, cache_url=server.url)) as second:
            assert [await read(second, key) for key in ("one", "two")] == ["old", "old"]
            assert origin.asked == 2
            assert await write(second) == 200
            assert [await read(second, key) for key in ("one", "two")] == ["new", "new"]
        async with bff_client(gateway(services, cache_url=server.url)) as third:
            assert [await read(third, key) for key in ("one", "two")] == ["new", "new"]
        assert origin.asked == 4
    finally:
        server.close()


async def test_a_group_in_valkey() -> None:
    """Holds the names of what there is, no longer than it; is forgotten at once, with all its entries and no others."""
    server = ValkeyProcess()
    store = ValkeyStore(server.url, prefix="bff:", timeout=5.0)
    try:
        client = store._client
        await store.put(b"a", stored(), 60, b"g")
        await store.put(b"b", stored(), 0.001, b"g")
        await store.put(b"c", stored(), 600, b"h")
        await store.put(b"d", stored(), 600)
        assert 59_000 < await client.pttl(b"bff:\ng") <= 60_000
        while await client.exists(b"bff:b"):
            await asyncio.sleep(0.001)
        await store.put(b"e", stored(), 1, b"g")
        assert await client.zrange(b"bff:\ng", 0, -1) == [b"bff:e", b"bff:a"]
        assert 59_000 < await client.pttl(b"bff:\ng") <= 60_000
        await store.forget(b"g")
        await store.forget(b"nothing")
        assert sorted(await client.keys()) == [b"bff:\nh", b"bff:c", b"bff:d"]
    finally:
        await store.aclose()
        server.close()


def test_a_group_in_memory() -> None:
    """Is no longer than what is in it, however that went."""
    store = MemoryStore(100_000)

    def crowd_out() -> None:
        for number in range(1000):
            store.put(b"x%d" % number, stored())

    for each in (
        lambda: store.delete(b"a"),
        lambda: store.forget(b"g"),
        lambda: store.put(b"a", stored()),
        store.clear,
        crowd_out,
    ):
        store.put(b"a", stored(), b"g")
        store.put(b"b", stored(), b"h")
        each()
        assert b"g" not in store._groups
    assert store.bytes <= 100_000
    store.clear()
    assert (store.bytes, len(store)) == (0, 0)
