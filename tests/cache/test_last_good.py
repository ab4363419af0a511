"""The last good values of sections: bounded, aged, and nobody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, Json

from bff_core import (
    ApiKey,
    ApiKeys,
    Authorizer,
    AuthorizerRequest,
    Bff,
    Page,
    Principal,
    ServiceClient,
    Settings,
    create_bff,
    get,
    optional,
    required,
    section,
    shape,
)
from bff_core.cache import LastGood, ValkeyStore, shared
from bff_core.cache.last_good import OVERHEAD
from bff_core.pages import LastGoodValues
from bff_core.testing import FakeServices, bff_client
from tests.cache.test_valkey import Clock
from tests.servers import ValkeyProcess as Server


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/notes/{key}")
    async def note(self, key: str) -> Note: ...

    @get("/names")
    async def names(self) -> list[str]: ...

    @get("/text")
    async def text(self) -> str: ...


class Public(Page):
    note = optional(Notes.note, stale_for=60)
    names = optional(Notes.names, stale_for=60, fallback=[])


class Mine(Page):
    note = optional(Notes.note, key="mine", stale_for=60, when=lambda principal: principal is not None)


KEYS = [
    ApiKey(sha256="7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed", partner="one"),
    ApiKey(sha256="3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", partner="two"),
]


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("notes")


@pytest.fixture
async def client(services: FakeServices) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app: Bff = create_bff("t", settings=settings, clients=[Notes], auth=ApiKeys(KEYS), transport=services.transport)
    app.page("/notes/{key}", Public, public=True)
    app.page("/mine", Mine)
    async with bff_client(app) as client:
        yield client


async def test_the_last_good_value_stands_in(client: httpx.AsyncClient, services: FakeServices) -> None:
    """For the same arguments only, and named as degraded; what was never good has its fallback."""
    notes = services["notes"]
    notes.get("/notes/a").respond(json={"text": "good"})
    notes.get("/names").respond(json=["x"])
    assert (await client.get("/notes/a")).json() == {"note": {"text": "good"}, "names": ["x"]}
    notes.get("/notes/a").respond(500)
    notes.get("/notes/b").respond(500)
    notes.get("/names").respond(500)
    assert (await client.get("/notes/a")).json() == {
        "note": {"text": "good"},
        "names": ["x"],
        "_degraded": ["note", "names"],
    }
    assert (await client.get("/notes/b")).json() == {"note": None, "names": ["x"], "_degraded": ["note", "names"]}


@pytest.mark.parametrize("failure", [500, 502, 503, 504, httpx.ConnectError("x"), httpx.ReadTimeout("x")])
async def test_it_stands_in_for_failures(
    client: httpx.AsyncClient, services: FakeServices, failure: int | Exception
) -> None:
    note = services["notes"].get("/notes/a")
    services["notes"].get("/names").respond(json=[])
    note.respond(json={"text": "good"})
    await client.get("/notes/a")
    if isinstance(failure, int):
        note.respond(failure)
    else:
        note.mock(side_effect=failure)
    assert (await client.get("/notes/a")).json() == {"note": {"text": "good"}, "names": [], "_degraded": ["note"]}


async def test_it_stands_in_for_an_open_circuit(client: httpx.AsyncClient, services: FakeServices) -> None:
    services["notes"].get("/notes/a").respond(json={"text": "good"})
    services["notes"].get("/names").respond(json=[])
    await client.get("/notes/a")
    app: Any = client._transport.app  # type: ignore[attr-defined]
    services["notes"].get("/notes/a").respond(503)
    for _ in range(100):
        answer = (await client.get("/notes/a")).json()
        assert answer["note"] == {"text": "good"}
    assert app.upstreams["notes"].breaker.state == "open"


@pytest.mark.parametrize("refusal", [400, 401, 403, 404, 409, 410])
async def test_it_does_not_stand_in_for_answers(
    client: httpx.AsyncClient, services: FakeServices, refusal: int
) -> None:
    """What the service says is gone, or is not theirs, is not shown: not now, and not when it fails after that."""
    note = services["notes"].get("/notes/a")
    services["notes"].get("/names").respond(json=[])
    note.respond(json={"text": "good"})
    await client.get("/notes/a")
    for status in (refusal, 500):
        note.respond(status)
        assert (await client.get("/notes/a")).json() == {"note": None, "names": [], "_degraded": ["note"]}


@pytest.mark.parametrize("status", [408, 425, 429])
async def test_it_stands_in_for_not_now(client: httpx.AsyncClient, services: FakeServices, status: int) -> None:
    """What may go well in a moment says nothing about what was there: it is shown, and remembered."""
    note = services["notes"].get("/notes/a")
    services["notes"].get("/names").respond(json=[])
    note.respond(json={"text": "good"})
    await client.get("/notes/a")
    for failure in (status, 500):
        note.respond(failure)
        answer = await client.get("/notes/a")
        assert answer.json() == {"note": {"text": "good"}, "names": [], "_degraded": ["note"]}


async def by_token(request: AuthorizerRequest) -> Principal:
    return Principal("ann", token=request.headers["authorization"])


async def test_another_token_of_the_same_user(services: FakeServices) -> None:
    """May be for another organisation."""
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Notes], auth=Authorizer(by_token), transport=services.transport)
    app.page("/mine", Mine)
    services["notes"].get("/notes/mine").respond(json={"text": "of one"})
    async with bff_client(app) as client:
        await client.get("/mine", headers={"authorization": "one"})
        services["notes"].get("/notes/mine").respond(500)
        notes = [(await client.get("/mine", headers={"authorization": name})).json()["note"] for name in ("one", "two")]
    assert notes == [{"text": "of one"}, None]


class Search(ServiceClient, service="notes"):
    @get("/search", at="items")
    async def items(self) -> list[Note]: ...

    @get("/search", at="total")
    async def total(self) -> int: ...


class SearchPage(Page):
    items = optional(Search.items, fallback=[], stale_for=60)
    total = optional(Search.total, fallback=0, stale_for=60)


async def test_operations_at_one_url_have_each_their_own(services: FakeServices) -> None:
    services["notes"].get("/search").respond(json={"items": [{"text": "a"}], "total": 7})
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Search], transport=services.transport)
    app.page("/search", SearchPage, public=True)
    async with bff_client(app) as client:
        good = (await client.get("/search")).json()
        services["notes"].get("/search").respond(503)
        assert (await client.get("/search")).json() == {**good, "_degraded": ["items", "total"]}


class Unaskable(Page):
    note = optional(Notes.note, key=lambda: "..", stale_for=60)
    other = optional(Notes.note, key=lambda: 1 / 0, stale_for=60)


async def test_what_cannot_be_asked_for_has_its_fallback(services: FakeServices) -> None:
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Notes], transport=services.transport)
    app.page("/unaskable", Unaskable, public=True)
    async with bff_client(app) as client:
        answer = await client.get("/unaskable")
        assert answer.json() == {"note": None, "other": None, "_degraded": ["note", "other"]}


async def test_nobody_sees_anothers(client: httpx.AsyncClient, services: FakeServices) -> None:
    """The same call for another principal has no last good value."""
    services["notes"].get("/notes/mine").respond(json={"text": "secret of one"})
    assert "secret" in (await client.get("/mine", headers={"x-api-key": "one"})).text
    services["notes"].get("/notes/mine").respond(500)
    assert (await client.get("/mine", headers={"x-api-key": "two"})).json() == {"note": None, "_degraded": ["note"]}
    assert (await client.get("/mine", headers={"x-api-key": "one"})).json()["note"] == {"text": "secret of one"}


@pytest.mark.usefixtures("patient")
async def test_replicas_share_them(services: FakeServices) -> None:
    """What one replica showed last, another can show; nobody else's; and without the store each has its own."""
    server = Server()
    try:
        settings = Settings(services=services.settings, log_level="CRITICAL", cache_url=server.url)

        def replica() -> Bff:
            app = create_bff("t", settings=settings, clients=[Notes], auth=ApiKeys(KEYS), transport=services.transport)
            app.page("/notes/{key}", Public, public=True)
            app.page("/mine", Mine)
            return app

        notes = services["notes"]
        notes.get("/notes/a").respond(json={"text": "good"})
        notes.get("/notes/mine").respond(json={"text": "of one"})
        notes.get("/names").respond(json=["x"])
        one = replica()
        async with bff_client(one) as first, bff_client(replica()) as second:
            await first.get("/notes/a")
            await first.get("/mine", headers={"x-api-key": "one"})
            for path in ("/notes/a", "/notes/mine", "/names"):
                notes.get(path).respond(500)
            assert one.last_good.remote is not None
            await asyncio.gather(*one.last_good.remote._tasks)
            assert (await second.get("/notes/a")).json() == {
                "note": {"text": "good"},
                "names": ["x"],
                "_degraded": ["note", "names"],
            }
            assert (await second.get("/mine", headers={"x-api-key": "two"})).json()["note"] is None
            server.kill()
            third = await second.get("/notes/a")
            assert (third.status_code, third.json()["note"]) == (200, None)
            assert (await first.get("/notes/a")).json()["note"] == {"text": "good"}
    finally:
        server.close()


def test_age_and_copies() -> None:
    """Too old is gone; who changes what they got changes nothing here."""
    kept = LastGood(1000)
    kept.put("k", [1], 10, now=5.0)
    got = kept.get("k", 60, now=65.0)
    assert got == ([1], 60.0)
    got[0].append(2)
    assert kept.get("k", 60, now=65.0) == ([1], 60.0)
    assert kept.get("k", 60, now=65.1) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(min_value=0, max_value=3000)), max_size=200))
def test_bounded(steps: list[tuple[str, int]]) -> None:
    """Never more bytes than allowed, whatever is put in; the sum is that of what is there."""
    kept = LastGood(5000)
    sizes: dict[str, int] = {}
    for key, size in steps:
        kept.put(key, size, size, now=0.0)
        sizes[key] = size
        there = [name for name in sizes if kept.get(name, 1, 0.0) is not None]
        assert kept.bytes == sum(sizes[name] + OVERHEAD for name in there) <= 5000
        assert len(kept) == len(there)


class Chained(Page):
    names = required(Notes.names)
    note = optional(Notes.note, key=lambda names: names[0], stale_for=60)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["..", ""])
async def test_what_no_request_can_name_has_no_last_good_value(services: FakeServices, name: str) -> None:
    """A service's answer may say anything; the page is answered all the same."""
    services["notes"].get("/names").respond(json=[name])
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Notes], transport=services.transport)
    app.page("/chained", Chained, public=True)
    async with bff_client(app) as client, asyncio.timeout(10):
        answer = (await client.get("/chained")).json()
    assert answer == {"names": [name], "note": None, "_degraded": ["note"]}


class Version:
    """Of the author's, as no JSON has it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __deepcopy__(self, memo: object) -> Version:
        raise TypeError("there is only one")


class Release(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    text: Annotated[Version, BeforeValidator(Version)]


class Released(ServiceClient, service="notes"):
    @get("/notes/{key}")
    async def note(self, key: str) -> Release: ...


class Releases(Page):
    note = optional(Released.note, key="a", stale_for=60, fallback=Release.model_construct(text=Version("none")))

    @shape
    def view(self, note: Release) -> Note:
        return Note(text=note.text.text)


class Unwritable(Page):
    note = optional(Notes.note, key="a", fallback=Note.model_construct(text=Version("x")))  # type: ignore[arg-type]


class UnwritableBySection(Page):
    @section(fallback=Note.model_construct(text=Version("x")), optional=True)  # type: ignore[arg-type]
    async def note(self) -> Note:
        raise OSError


async def test_what_cannot_be_remembered_is_shown_all_the_same(services: FakeServices) -> None:
    """And a page whose section cannot be settled at all ends."""
    services["notes"].get("/notes/a").respond(json={"text": "1.2"})
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Notes, Released], transport=services.transport)
    app.page("/releases", Releases, public=True)
    app.page("/unwritable", Unwritable, public=True)
    app.page("/section", UnwritableBySection, public=True)
    async with bff_client(app) as client, asyncio.timeout(10):
        assert (await client.get("/releases")).json() == {"text": "1.2"}
        services["notes"].get("/notes/a").respond(500)
        for path in ("/unwritable", "/section"):
            assert (await client.get(path)).status_code == 500


class Stock(BaseModel):
    sku: str
    in_stock: bool = Field(False, alias="inStock")
    units: int | None = Field(None, validation_alias="unitsLeft")
    note: Json[list[int]] | None = None
    seen: int = Field(0, alias="seenTimes")


class Levels(BaseModel):
    sku: str
    units: int = Field(0, validation_alias=AliasPath("levels", 0))


class Shop(ServiceClient, service="notes"):
    @get("/stock")
    async def stock(self) -> Stock: ...

    @get("/levels", at="items")
    async def levels(self) -> list[Levels]: ...

    @get("/stocks", batch="skus", key="sku", at="items")
    async def stocks(self, skus: list[str]) -> list[Stock]: ...

    @get("/many-levels", batch="skus", key="sku")
    async def many_levels(self, skus: list[str]) -> list[Levels]: ...


class Shelf(Page):
    stock = optional(Shop.stock, stale_for=60)
    levels = optional(Shop.levels, stale_for=60)
    stocks = optional(Shop.stocks, skus=lambda: ["a"], stale_for=60)
    many_levels = optional(Shop.many_levels, skus=lambda: ["a"], stale_for=60)


@pytest.mark.usefixtures("patient")
async def test_what_replicas_share_is_what_was_read(services: FakeServices, valkey_url: str) -> None:
    """However a model's members are called. What a batch gives is left out where it could not be read again."""
    settings = Settings(services=services.settings, log_level="CRITICAL", cache_url=valkey_url)

    def replica() -> Bff:
        app = create_bff("t", settings=settings, clients=[Shop], transport=services.transport)
        app.page("/shelf", Shelf, public=True)
        return app

    service = services["notes"]
    stock = {"sku": "a", "inStock": True, "note": "[1]", "seenTimes": 3}
    service.get("/stock").respond(json={**stock, "unitsLeft": 7})
    service.get("/levels").respond(json={"items": [{"sku": "a", "levels": [7]}]})
    service.get("/stocks").respond(json={"items": [stock]})
    service.get("/many-levels").respond(json=[{"sku": "a", "levels": [7]}])
    one, other = replica(), replica()
    async with bff_client(one) as first, bff_client(other) as second:
        good = (await first.get("/shelf")).json()
        assert (good["stock"]["units"], good["levels"][0]["units"], good["stocks"][0]["seenTimes"]) == (7, 7, 3)
        assert one.last_good.remote is not None
        await asyncio.gather(*one.last_good.remote._tasks)
        for path in ("/stock", "/levels", "/stocks", "/many-levels"):
            service.get(path).respond(500)
        assert (await second.get("/shelf")).json() == {
            **good,
            "many_levels": None,
            "_degraded": ["stock", "levels", "stocks", "many_levels"],
        }


KEY = ("page.note", "()", b"")


def replica(url: str, clock: Clock | None = None) -> LastGoodValues:
    store = ValkeyStore(url, prefix="bff:", timeout=5.0, clock=clock or Clock())
    return LastGoodValues(LastGood(100_000), store)


async def test_what_was_refused_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither from an answer that was under way, here or elsewhere, nor from a store that could not be told at once."""
    monkeypatch.setattr(shared, "AGAIN_AFTER", 0)
    server, clock = Server(), Clock()
    here, elsewhere = replica(server.url, clock), replica(server.url)
    try:
        assert here.remote is not None
        assert elsewhere.remote is not None

        async def put(by: LastGoodValues, asked: float) -> None:
            by.put(KEY, "x", b'"x"', Notes.text, 60, asked)
            assert by.remote is not None
            await asyncio.gather(*by.remote._tasks)

        early = time.monotonic()
        await put(here, early)
        assert await elsewhere.recall(KEY, Notes.text, 60) is not None
        here.remote.store._retry_at = clock.now + 1  # it is left alone
        here.forget(KEY)
        await asyncio.gather(*here.remote._tasks)
        assert (here.get(KEY, 60), await here.recall(KEY, Notes.text, 60)) == (None, None)
        clock.now += 2
        async with asyncio.timeout(10):
            while here.remote._untold:
                await asyncio.sleep(0)
        assert await elsewhere.recall(KEY, Notes.text, 60) is None
        for by in (here, elsewhere):
            await put(by, early)
        assert here.get(KEY, 60) is None
        assert (await here.recall(KEY, Notes.text, 60), await elsewhere.recall(KEY, Notes.text, 60)) == (None, None)
        await put(here, time.monotonic() + 1)
        assert here.get(KEY, 60) is not None
        assert await elsewhere.recall(KEY, Notes.text, 60) is not None
    finally:
        await here.aclose()
        await elsewhere.aclose()
        server.close()


async def test_what_is_refused_while_it_is_looked_for() -> None:
    """Is not shown, though the store had it."""
    server = Server()
    values = replica(server.url)
    try:
        assert values.remote is not None
        values.put(KEY, "x", b'"x"', Notes.text, 60, time.monotonic())
        await asyncio.gather(*values.remote._tasks)
        looking = asyncio.create_task(values.recall(KEY, Notes.text, 60))
        await asyncio.sleep(0)
        values.forget(KEY)
        assert await looking is None
    finally:
        await values.aclose()
        server.close()


async def test_an_answer_is_as_old_as_its_question(
    client: httpx.AsyncClient, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was refused since then is not remembered."""
    app: Any = client._transport.app  # type: ignore[attr-defined]
    asked: list[float] = []
    monkeypatch.setattr(app.last_good, "put", lambda *arguments: asked.append(arguments[-1]))

    def answer(_: httpx.Request) -> httpx.Response:
        asked.append(time.monotonic())
        return httpx.Response(200, json={"text": "x"})

    services["notes"].get("/notes/mine").mock(side_effect=answer)
    await client.get("/mine", headers={"x-api-key": "one"})
    meanwhile, told = asked
    assert told < meanwhile
