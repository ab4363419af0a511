"""A write that was accepted makes what is kept of its URI worth nothing (RFC 9111 section 4.4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    ApiKeys,
    BadResponse,
    Bff,
    BulkheadFull,
    CallTimeout,
    CircuitOpen,
    ConnectFailed,
    Page,
    ServiceClient,
    ServiceError,
    Settings,
    UnexpectedStatus,
    create_bff,
    delete,
    get,
    patch,
    post,
    put,
    required,
)
from bff_core.cache import MemoryStore, Stored, ValkeyStore, changes, shared
from bff_core.clients.caching import ResponseCache, has_changed_nothing
from bff_core.testing import FakeServices, bff_client
from bff_core.wire import WireResponse
from tests.cache.conftest import PUT
from tests.cache.responses import stored
from tests.cache.test_response_cache import KEYS
from tests.cache.test_valkey import Clock
from tests.servers import ValkeyProcess


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/notes/{key}")
    async def note(self, key: str) -> Note: ...

    @get("/notes/{key}")
    async def part(self, key: str, part: int) -> Note: ...

    @post("/fails")
    async def fails(self) -> None: ...

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


class Fails(Page):
    note: Note
    done = required(Notes.put)
    other = required(Notes.fails)


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
        self.failure: Exception | httpx.Response | None = None  # of the next write
        self.answer, self.written = asyncio.Event(), asyncio.Event()
        self.answer.set()
        services["notes"].route().mock(side_effect=self)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.asked += 1
            text = self.text
            if self.meanwhile is not None:
                wait, self.meanwhile = self.meanwhile, None
                await wait.wait()
            return httpx.Response(200, json={"text": text}, headers={"cache-control": "max-age=60"})
        if request.url.path == "/fails":
            await self.written.wait()
            return httpx.Response(500)
        self.written.set()
        await self.answer.wait()
        failure, self.failure = self.failure, None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return failure
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
    app.page("/fails/{key}", Fails, method="POST")
    app.proxy("/raw/{key}", service="notes", to="/notes/{key}", methods=["GET", "PUT", "DELETE"], public=True)
    return app


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("notes")


@pytest.fixture
def origin(services: FakeServices) -> Origin:
    return Origin(services)


@pytest.fixture
async def client(services: FakeServices, origin: Origin) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(gateway(services, policy={"max_body": 1000})) as client:
        yield client


async def read(client: httpx.AsyncClient, key: str = "one", path: str = "/notes/a") -> str:
    answer = await client.get(path, headers={"x-api-key": key})
    text: str = answer.json()["note"]["text"]
    return text


async def kept(app: Bff) -> None:
    """What the gateway had to tell the shared store, it has told."""
    remote = app.clients[Notes].bound["note"].responses.remote
    assert remote is not None
    await asyncio.gather(*remote._tasks)


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


@pytest.mark.parametrize(
    ("status", "read_then"), [(303, "new"), (403, "old"), (422, "old"), (404, "new"), (409, "new"), (500, "new")]
)
async def test_not_what_was_refused(client: httpx.AsyncClient, origin: Origin, status: int, read_then: str) -> None:
    """It has changed nothing; a redirect is no error (RFC 9110 section 15), and who fails may have done it."""
    assert await read(client) == "old"
    origin.status = status
    assert await write(client) != 200
    origin.text = "new"
    assert await read(client) == read_then


@pytest.mark.parametrize("how", ["post", "raw"])
@pytest.mark.parametrize(
    ("failure", "read_then"),
    [
        (httpx.ReadTimeout("x"), "new"),
        (httpx.ReadError("x"), "new"),
        (httpx.RemoteProtocolError("x"), "new"),
        (httpx.Response(200, content=b"x" * 1001), "new"),
        (httpx.ConnectError("x"), "old"),
    ],
)
async def test_what_may_have_been_done(
    client: httpx.AsyncClient, origin: Origin, how: str, failure: Exception | httpx.Response, read_then: str
) -> None:
    """Though nobody could read that it was."""
    assert await read(client) == "old"
    origin.failure = failure
    if how == "raw":
        await client.put("/raw/a", content=b"x")
    else:
        assert await write(client, how) != 200
    origin.text = "new"
    assert await read(client) == read_then


async def test_an_attempt_before_the_one_that_was_refused(client: httpx.AsyncClient, origin: Origin) -> None:
    """A DELETE whose answer was lost is repeated, and there is nothing left to be deleted."""
    for how in ("client", "proxy"):
        origin.text = "old"
        assert await read(client, path=f"/notes/{how}") == "old"
        origin.failure, origin.status = httpx.ReadError("x"), 404
        if how == "proxy":
            assert (await client.delete(f"/raw/{how}")).status_code == 404
        else:
            assert await write(client, "delete", how) == 404
        origin.text = "new"
        assert await read(client, path=f"/notes/{how}") == "new"


async def test_who_does_not_wait_for_the_end(client: httpx.AsyncClient, origin: Origin) -> None:
    """Another section has failed, or the client has left."""
    assert await read(client) == "old"
    origin.answer.clear()
    assert (await client.post("/fails/a", json={"text": "new"}, headers={"x-api-key": "one"})).status_code == 502
    origin.text = "new"
    assert await read(client) == "new"
    origin.text = "newer"
    origin.written.clear()
    leaving = asyncio.create_task(client.put("/raw/a"))
    await origin.written.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await read(client) == "newer"
    origin.answer.set()


@pytest.mark.parametrize(
    ("sent", "error", "nothing"),
    [
        (0, None, True),
        (0, CallTimeout(), True),
        (1, None, False),
        (1, CallTimeout(), False),
        (1, BadResponse(), False),
        (1, UnexpectedStatus(399), False),
        (1, UnexpectedStatus(400), True),
        (1, UnexpectedStatus(499), True),
        (1, UnexpectedStatus(404), False),
        (1, UnexpectedStatus(408), False),
        (1, UnexpectedStatus(412), False),
        (1, UnexpectedStatus(500), False),
        (1, ConnectFailed(), True),
        (1, CircuitOpen(), True),
        (1, BulkheadFull(), True),
        (2, ConnectFailed(), False),
        (2, UnexpectedStatus(404), False),
    ],
)
def test_when_it_is_certain(sent: int, error: ServiceError | None, nothing: bool) -> None:
    assert has_changed_nothing(sent, error) is nothing


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


@pytest.mark.parametrize(
    ("method", "status", "read_then"),
    [("PUT", 204, "new"), ("PUT", 422, "old"), ("PUT", 409, "new"), ("GET", 0, "old")],
)
async def test_what_passes_through(
    client: httpx.AsyncClient, origin: Origin, method: str, status: int, read_then: str
) -> None:
    """Is a write as well, for who has it cached and who asks while another is asking."""
    assert await read(client) == "old"
    origin.status = status
    assert (await client.request(method, "/raw/a")).status_code == status or method == "GET"
    origin.text = "new"
    assert await read(client) == read_then


async def test_a_write_that_passes_through_parts_who_comes_after_from_who_was_before(
    client: httpx.AsyncClient, origin: Origin
) -> None:
    """As with clients' writes."""
    origin.meanwhile = go_on = asyncio.Event()
    early = asyncio.create_task(read(client))
    while not origin.asked:
        await asyncio.sleep(0)
    assert (await client.put("/raw/a")).status_code == 204
    assert await read(client) == "new"
    go_on.set()
    assert await early == "old"
    assert await read(client) == "new"


@pytest.mark.usefixtures("patient")
async def test_replicas_forget_what_they_share(services: FakeServices, origin: Origin) -> None:
    """The shared store too, for everybody; what was read since is there for a replica that comes after that."""
    server = ValkeyProcess()
    try:
        one, two, three = (gateway(services, cache_url=server.url) for _ in range(3))
        async with bff_client(one) as first:
            for key in ("one", "two"):
                assert await read(first, key) == "old"
                await kept(one)  # of two at once the later may come first, and be the only one that is kept
        async with bff_client(two) as second:
            assert [await read(second, key) for key in ("one", "two")] == ["old", "old"]
            assert origin.asked == 2
            assert await write(second) == 200
            await kept(two)
            assert [await read(second, key) for key in ("one", "two")] == ["new", "new"]
            await kept(two)
        async with bff_client(three) as third:
            assert [await read(third, key) for key in ("one", "two")] == ["new", "new"]
        assert origin.asked == 4
    finally:
        server.close()


@pytest.fixture
def server() -> Iterator[ValkeyProcess]:
    """A Valkey of the test's own."""
    running = ValkeyProcess()
    yield running
    running.close()


@pytest.fixture
async def store(server: ValkeyProcess) -> AsyncIterator[ValkeyStore]:
    """A store on it."""
    opened = ValkeyStore(server.url, prefix="bff:", timeout=5.0)
    yield opened
    await opened.aclose()


async def test_an_answer_under_way_elsewhere(server: ValkeyProcess) -> None:
    """What another replica had asked for before the write, and got after it, is nothing to who wrote."""
    stores = [ValkeyStore(server.url, prefix="bff:", timeout=5.0) for _ in range(2)]
    here, elsewhere = (ResponseCache(100_000, store) for store in stores)
    key = here.key("notes", "/notes/a", b"", None)
    answer = WireResponse(200, [(b"cache-control", b"max-age=60")], b"old")

    async def recalled() -> bytes | None:
        found: list[Stored | None] = []
        assert here.remote is not None
        await here.recall(here.remote, key, found.append)
        return found[0].body if found[0] is not None else None

    def answered(asked: float, body: bytes) -> set[asyncio.Task[None]]:
        answer.body = body
        elsewhere.absorb(key, None, list, answer, asked, shared=True)
        assert elsewhere.remote is not None
        return elsewhere.remote._tasks

    try:
        asked = time.monotonic()
        here.changed("notes", "/notes/a")
        assert await recalled() is None  # waits until it is forgotten
        await asyncio.wait(answered(asked, b"old"))
        assert await recalled() is None
        await asyncio.wait(answered(time.monotonic() + 1, b"new"))
        assert await recalled() == b"new"
    finally:
        await here.aclose()
        await elsewhere.aclose()


async def test_what_could_not_be_forgotten(server: ValkeyProcess) -> None:
    """Is not given out by who knows of it, until it is forgotten after all."""
    moment = Clock()
    store = ValkeyStore(server.url, prefix="bff:", timeout=5.0, clock=moment)
    cache = ResponseCache(100_000, store)
    remote = cache.remote
    assert remote is not None
    key = cache.key("notes", "/notes/a", b"", None)
    found: list[Stored | None] = []
    try:
        await store.put(key, stored(), 60, b"notes\n/notes/a\n")
        store._retry_at = moment.now + 1  # it is left alone
        cache.changed("notes", "/notes/a")
        await asyncio.wait(remote._tasks)
        moment.now += 2
        await cache.recall(remote, key, found.append)
        await cache.recall(remote, key, found.append)
        assert found == [None, None]
        assert not remote._untold
    finally:
        await cache.aclose()


async def test_the_shared_store_is_told_again(server: ValkeyProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """By nobody's asking: other replicas do not know of it."""
    monkeypatch.setattr(shared, "AGAIN_AFTER", 0)
    moment = Clock()
    store = ValkeyStore(server.url, prefix="bff:", timeout=5.0, clock=moment)
    remote = shared.SharedStore(store)
    targets = [b"a", b"b", b"c"]
    try:
        for target in targets:
            await store.put(target, stored(), 60, target)
        store._retry_at = moment.now + 1
        await asyncio.gather(*(remote.forget(target) for target in targets))
        assert [await store.get(target, target) for target in targets] == [None] * 3  # not asked
        assert sorted(remote._untold) == targets
        moment.now += 2
        async with asyncio.timeout(10):
            while remote._untold:
                await asyncio.sleep(0)
        assert [await store.get(target, target) for target in targets] == [None] * 3  # asked, and forgotten
    finally:
        await remote.aclose()


async def test_nothing_untold_is_taken(store: ValkeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a store that answers, but could not be told."""
    remote = shared.SharedStore(store)

    async def fails(_: bytes) -> bool:
        return False

    await store.put(b"a", stored(), 60, b"a")
    assert await remote.get(b"a", b"a") == stored()
    monkeypatch.setattr(store, "forget", fails)
    await remote.forget(b"a")
    assert await remote.get(b"a", b"a") is None
    await remote.aclose()


async def test_more_than_can_be_remembered_to_be_told(server: ValkeyProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from before that is taken from the shared store; what comes later is."""
    monkeypatch.setattr(shared, "MOST_UNTOLD", 2)
    moment = Clock()
    store = ValkeyStore(server.url, prefix="bff:", timeout=5.0, clock=moment)
    remote = shared.SharedStore(store)
    try:
        for target in (b"a", b"z"):
            await store.put(target, stored(), 60, target)
        store._retry_at = moment.now + 1
        for target in (b"a", b"b", b"c"):
            await remote.forget(target)
        assert list(remote._untold) == [b"b", b"c"]
        moment.now += 2
        assert await store.get(b"a", b"a") == stored()
        assert [await remote.get(target, target) for target in (b"a", b"z")] == [None, None]
        await store.put(b"z", stored(), 60, b"z", time.monotonic() + 6)
        assert await remote.get(b"z", b"z") == stored()
    finally:
        await remote.aclose()


async def test_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither has an answer from before count as one from after, nor stops the caching."""
    cache = ResponseCache(100_000)
    key = cache.key("notes", "/notes/a", b"", None)
    answer = WireResponse(200, [(b"cache-control", b"max-age=60")], b"x")
    true, off = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: true() + off)
    asked = time.monotonic()
    off = -1000.0
    cache.changed("notes", "/notes/a")
    off = 0.0
    cache.absorb(key, None, list, answer, asked, shared=True)
    assert cache.memory.get(key) is None
    off = 1000.0
    cache.changed("notes", "/notes/a")
    off = 0.0
    cache.absorb(key, None, list, answer, time.monotonic(), shared=True)
    assert cache.memory.get(key) is not None


async def test_a_mark_in_valkey(store: ValkeyStore) -> None:
    """Lives as long as the entries of its target; without it they are none; others stay."""
    client, began = store._client, time.monotonic()
    for key, ttl, target in ((b"a", 60, b"g"), (b"b", 1, b"g"), (b"c", 6000, b"h"), (b"d", 60, b"i")):
        await store.put(key, stored(), ttl, target)
    left = await client.pttl(b"bff:\ng")
    assert 60_000 - 1000 * (time.monotonic() - began) - 1 <= left <= 60_000
    await store.forget(b"g")
    await store.forget(b"nothing")
    assert [await store.get(key, target) for key, target in ((b"a", b"g"), (b"b", b"g"))] == [None, None]
    assert await store.get(b"c", b"h") == await store.get(b"d", b"i") == stored()
    await client.delete(b"bff:\ni")  # evicted
    assert await store.get(b"d", b"i") is None
    await store.put(b"e", stored(), 60, b"i")
    assert [await store.get(key, b"i") for key in (b"d", b"e")] == [None, stored()]
    for mark in (b"", b"x"):
        await client.set(b"bff:\ni", mark)
        assert await store.get(b"e", b"i") is None
    await store.put(b"a", stored(), 6000, b"g")
    assert await store.get(b"a", b"g") == stored()
    assert await client.pttl(b"bff:\ng") > 5_990_000


async def test_an_old_answer_takes_no_new_ones_place(store: ValkeyStore) -> None:
    """However late it comes."""
    before = time.monotonic()
    await store.forget(b"g")
    await store.put(b"a", stored(body=b"new"), 60, b"g")
    await store.put(b"a", stored(body=b"old"), 60, b"g", before)
    assert await store.get(b"a", b"g") == stored(body=b"new")


async def test_a_slow_answer_makes_a_mark_but_is_not_kept(store: ValkeyStore) -> None:
    """There may have been one that was evicted: it gives nothing back."""
    store._put_script = store._client.register_script(PUT)  # with its own second
    await store.put(b"a", stored(), 60, b"g")
    await store.forget(b"g")
    await store._client.delete(b"bff:\ng")  # evicted
    await store.put(b"b", stored(), 60, b"g", time.monotonic() - 5)
    assert [await store.get(key, b"g") for key in (b"a", b"b")] == [None, None]
    await store.put(b"b", stored(), 60, b"g", time.monotonic() + 1)
    assert [await store.get(key, b"g") for key in (b"a", b"b")] == [None, stored()]


async def test_a_server_whose_time_goes_back(store: ValkeyStore) -> None:
    """Brings back nothing that was forgotten; who learns of it takes it in at once, who hears late does not."""
    await store.put(b"a", stored(), 60, b"g")
    mark = int(time.time() + 1000) * 1_000_000
    await store._client.set(b"bff:\ng", str(mark))  # by a server that was ahead
    await store.forget(b"g")
    assert int(await store._client.get(b"bff:\ng") or 0) == mark
    assert await store.get(b"a", b"g") is None
    ahead = store._ahead
    store._learn(int(time.time() - 1000), 0)
    assert store._ahead == pytest.approx(ahead - 1000, abs=10)
    ahead = store._ahead
    late = ahead + time.monotonic() - store._timeout / 2
    store._learn(int(late), int(late % 1 * 1_000_000))
    assert store._ahead == ahead


async def test_a_full_valkey_forgets(store: ValkeyStore) -> None:
    """Though there is no room for the mark."""
    client: Any = store._client
    await store.put(b"a", stored(), 60, b"g")
    await client.config_set("maxmemory", "1")
    assert await store.forget(b"g")
    assert await store.get(b"a", b"g") is None


async def test_to_forget_is_one_step_however_much_it_is(store: ValkeyStore) -> None:
    """No entry is touched."""
    for number in range(100):
        await store.put(b"%d" % number, stored(), 60, b"g")
    client: Any = store._client
    before = (await client.info("commandstats"))["cmdstat_set"]["calls"]
    await store.forget(b"g")
    statistics = await client.info("commandstats")
    assert statistics["cmdstat_set"]["calls"] == before + 1
    assert not {"cmdstat_unlink", "cmdstat_del"} & set(statistics)
    assert [await store.get(b"%d" % number, b"g") for number in range(100)] == [None] * 100


async def test_many_other_writes() -> None:
    """Do not have the cache keep what was asked for before one of them."""
    cache = ResponseCache(100_000)
    key = cache.key("notes", "/notes/a", b"", None)
    asked = time.monotonic()
    cache.changed("notes", "/notes/a")
    for number in range(changes.MOST):
        cache.changed("notes", f"/notes/{number}")
    answer = WireResponse(200, [(b"cache-control", b"max-age=60")], b"old")
    cache.absorb(key, None, list, answer, asked, shared=True)
    assert cache.memory.get(key) is None
    cache.absorb(key, None, list, answer, time.monotonic(), shared=True)
    assert cache.memory.get(key) is not None


def test_a_target_in_memory() -> None:
    """What is known of it goes with the last of its entries, however that went; what is forgotten is given to nobody,
    and its room is free in the end."""
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
        assert b"g" not in store._targets
    assert store.bytes <= 100_000
    store.clear()
    store.put(b"a", stored(), b"g")
    store.put(b"b", stored(), b"g")
    store.forget(b"g")
    store.put(b"b", stored(), b"g")
    assert store.get(b"a") is None
    assert store.get(b"b") == stored()
    assert len(store) == 1
    store.delete(b"b")
    assert (store.bytes, store._targets) == (0, {})
