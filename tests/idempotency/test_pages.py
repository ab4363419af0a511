"""Pages under an Idempotency-Key, from the client's side; on every kind of store."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    Bff,
    DeclarationError,
    ErrorsChanged,
    Event,
    Renamed,
    Settings,
    SettingsError,
    Version,
    Versions,
    create_bff,
)
from bff_core.idempotency import ledger
from bff_core.idempotency.record import MAX_ANSWER
from bff_core.stores import KeyValueStore, StoreUnavailable
from bff_core.testing import bff_client
from tests.idempotency.gateway import KEY, LAMP, Service, Thing, Touch, gateway


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def app(url: str, service: Service) -> Bff:
    return gateway(url, service)


@pytest.fixture
def embedded(service: Service) -> Bff:
    """Where the kind of store makes no difference."""
    return gateway("memory://", service)


def store_of(app: Bff) -> KeyValueStore:
    store = app.idempotency._store
    assert store is not None
    return store


class OldError(BaseModel):
    code: int


class Broken:
    """A store that is not there."""

    def __init__(self, store: KeyValueStore) -> None:
        self.inner = store

    async def get(self, key: str) -> bytes | None:
        raise StoreUnavailable("it is gone")

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        raise StoreUnavailable("it is gone")

    async def put(self, key: str, value: bytes, ttl: float) -> None: ...

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        return False

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_again_is_the_first_answer(app: Bff, service: Service) -> None:
    async with bff_client(app) as client:
        first = await client.post("/things", json=LAMP, headers=KEY)
        again = await client.post("/things", json=LAMP, headers=KEY)
    assert (first.status_code, first.json()["id"]) == (201, "t1")
    assert "idempotency-replayed" not in first.headers
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    for name in ("content-type", "cache-control", "content-length"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert "server-timing" not in again.headers
    assert service.done == ["a-key-of-mine"]


async def test_another_request_under_the_key_is_refused(app: Bff, service: Service) -> None:
    """Another body, path, query or method."""
    async with bff_client(app) as client:
        await client.post("/things", json=LAMP, headers=KEY)
        refused = [
            await client.post("/things", json={"name": "chair"}, headers=KEY),
            await client.post("/things?x=1", json=LAMP, headers=KEY),
            await client.post("/others", json=LAMP, headers=KEY),
            await client.post("/touches", headers=KEY),
        ]
        assert [answer.status_code for answer in refused] == [422] * 4
        assert "t1" not in "".join(answer.text for answer in refused)
        own = KEY | {"idempotency-key": "of-the-method"}
        assert (await client.post("/touches", headers=own)).status_code == 200
        assert (await client.put("/touches", headers=own)).status_code == 422
    assert len(service.done) == 1


async def test_another_version_s_answer_is_never_given(service: Service) -> None:
    """The same bytes mean something else there, and the first answer has another form."""
    versions = Versions(
        Version("2026-05-01", Renamed(Thing, "label", to="text"), path="/v2"), Version("2025-01-01", path="/v1")
    )
    app = gateway("memory://", service, versions=versions)
    async with bff_client(app) as client:
        first = await client.post("/things", json=LAMP, headers=KEY | {"api-version": "v1"})
        assert first.json() == {"id": "t1", "label": ""}
        other = await client.post("/things", json=LAMP, headers=KEY | {"api-version": "v2"})
        assert other.status_code == 422
        again = await client.post("/things", json=LAMP, headers=KEY | {"api-version": "2025-01-01"})
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["api-version"] == "2025-01-01"
    assert len(service.done) == 1


async def test_a_problem_comes_again_as_the_version_has_it(service: Service) -> None:
    versions = Versions(
        Version("2026-02-01", ErrorsChanged(lambda document: {"code": document["status"]}, OldError)),
        Version("2026-01-01"),
    )
    service.answer = lambda: httpx.Response(409, json={"title": "Sold out"})
    async with bff_client(gateway("memory://", service, versions=versions)) as client:
        headers = KEY | {"api-version": "2026-01-01"}
        first, again = [await client.post("/things", json=LAMP, headers=headers) for _ in range(2)]
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (409, {"code": 409})
    for name in ("content-type", "cache-control", "api-version"):
        assert again.headers.get_list(name) == first.headers.get_list(name)
    assert len(service.done) == 1


async def test_another_principal_never_sees_it(app: Bff, service: Service) -> None:
    """The same key and body of somebody else is another request; also while the first is under way."""
    service.hold = asyncio.Event()
    async with bff_client(app) as client:
        mine = asyncio.create_task(client.post("/things", json=LAMP, headers=KEY))
        theirs = asyncio.create_task(client.post("/things", json=LAMP, headers=KEY | {"x-user": "bob"}))
        while len(service.done) < 2:
            await asyncio.sleep(0.01)
        service.hold.set()
        answers = [await mine, await theirs, await client.post("/things", json={}, headers=KEY | {"x-user": "eve"})]
    assert [answer.status_code for answer in answers] == [201, 201, 422]
    assert all("idempotency-replayed" not in answer.headers for answer in answers)


async def test_while_it_is_under_way(app: Bff, service: Service) -> None:
    service.hold = asyncio.Event()
    async with bff_client(app) as client:
        first = asyncio.create_task(client.post("/things", json=LAMP, headers=KEY))
        while not service.done:
            await asyncio.sleep(0.01)
        again = await client.post("/things", json=LAMP, headers=KEY)
        other = await client.post("/things", json={"name": "chair"}, headers=KEY)
        service.hold.set()
        assert (await first).status_code == 201
    assert (again.status_code, again.headers["retry-after"], other.status_code) == (409, "1", 422)
    assert again.headers["content-type"] == "application/problem+json"
    assert len(service.done) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_what_was_never_certain_is_tried_again(app: Bff, service: Service, status: int) -> None:
    """The service is told the same key, so that it can tell; another body is still another request."""
    good = service.answer
    service.answer = lambda: httpx.Response(status)
    async with bff_client(app) as client:
        failed = await client.post("/things", json=LAMP, headers=KEY)
        assert failed.status_code in (429, 502, 503)
        assert (await client.post("/things", json={"name": "chair"}, headers=KEY)).status_code == 422
        service.answer = good
        again = await client.post("/things", json=LAMP, headers=KEY)
        assert (again.status_code, "idempotency-replayed" in again.headers) == (201, False)
        assert (await client.post("/things", json=LAMP, headers=KEY)).headers["idempotency-replayed"] == "true"
    assert service.done == ["a-key-of-mine", "a-key-of-mine"]


async def test_a_service_s_refusal_is_an_answer(app: Bff, service: Service) -> None:
    service.answer = lambda: httpx.Response(409, json={"title": "Sold out", "detail": "No more lamps."})
    async with bff_client(app) as client:
        first = await client.post("/things", json=LAMP, headers=KEY)
        again = await client.post("/things", json=LAMP, headers=KEY)
    assert (first.status_code, first.json()["title"]) == (409, "Sold out")
    assert (again.status_code, again.content) == (409, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"
    assert len(service.done) == 1


async def test_what_was_refused_before_it_began_leaves_the_key_free(embedded: Bff, service: Service) -> None:
    async with bff_client(embedded) as client:
        assert (await client.post("/things", json={"nome": "lamp"}, headers=KEY)).status_code == 422
        assert (await client.post("/things", content="x", headers=KEY)).status_code == 415
        assert (await client.post("/things", json={"name": "x" * 2**20}, headers=KEY)).status_code == 413
        assert (await client.post("/things", json=LAMP, headers={"idempotency-key": "k" * 8})).status_code == 401
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 201
    assert len(service.done) == 1


@pytest.mark.parametrize("key", ["", "short", "x" * 256, "with space", "tab\there", "caf\xe9-caf\xe9"])
async def test_keys_of_another_form(embedded: Bff, service: Service, key: str) -> None:
    async with bff_client(embedded) as client:
        headers = [(b"idempotency-key", key.encode("latin-1")), (b"x-user", b"ann")]
        for path in ("/things", "/others"):
            answer = await client.post(path, json=LAMP, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert service.done == []


async def test_without_a_key(embedded: Bff, service: Service) -> None:
    async with bff_client(embedded) as client:
        missing = await client.post("/things", json=LAMP, headers={"x-user": "ann"})
        assert (missing.status_code, "Idempotency-Key" in missing.json()["detail"]) == (400, True)
        for _ in range(2):
            answer = await client.post("/others", json=LAMP, headers={"x-user": "ann"})
            assert answer.status_code == 201
        two = [*KEY.items(), ("idempotency-key", "another-key")]
        assert (await client.post("/others", json=LAMP, headers=two)).status_code == 400
        assert (await client.post("/things", json=LAMP)).status_code == 401
    assert service.done == [None, None]


async def test_keys_of_every_length_that_is_allowed(embedded: Bff) -> None:
    async with bff_client(embedded) as client:
        for key in ("x" * 8, "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'):
            assert (await client.post("/touches", headers=KEY | {"idempotency-key": key})).status_code == 200


async def test_an_answer_too_large_to_keep_is_not_done_twice(embedded: Bff, service: Service) -> None:
    service.answer = lambda: httpx.Response(201, json={"id": "big", "text": "x" * MAX_ANSWER})
    async with bff_client(embedded) as client:
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 201
        again = await client.post("/things", json=LAMP, headers=KEY)
    assert (again.status_code, "too large" in again.json()["detail"]) == (409, True)
    assert len(service.done) == 1


async def test_a_bug_is_no_answer(embedded: Bff, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bff_client(embedded) as client:
        with monkeypatch.context() as patch:
            patch.setattr("bff_core.pages.run.Run.complete", lambda _: 1 / 0)
            assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 500
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 201


async def test_through_the_app_s_router(service: Service) -> None:
    """Where somebody's error handler makes pages go the long way."""
    app = gateway("memory://", service)
    app.add_exception_handler(ZeroDivisionError, lambda *_: None)  # type: ignore[arg-type]
    async with bff_client(app) as client:
        first = await client.post("/things", json=LAMP, headers=KEY)
        again = await client.post("/things", json=LAMP, headers=KEY)
    assert app.direct is None
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers.get_list("idempotency-replayed") == ["true"]
    assert len(again.headers.get_list("x-request-id")) == 1


async def test_a_store_that_is_gone_closes(embedded: Bff, service: Service) -> None:
    """And opens by itself; who listens is told of both, once."""
    told: list[Event] = []
    embedded.events.subscribe(told.append)
    async with bff_client(embedded) as client:
        whole = store_of(embedded)
        embedded.idempotency._store = Broken(whole)
        for _ in range(2):
            answer = await client.post("/things", json=LAMP, headers=KEY)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert service.done == []
        embedded.idempotency._store = whole
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 201
    assert [event.name for event in told if event.strategy == "Idempotency"] == ["OnStoreLost", "OnStoreBack"]


async def test_a_store_that_is_gone_may_be_done_without(service: Service) -> None:
    """The service still gets the key."""
    app = gateway("memory://", service, idempotency_on_store_failure="allow")
    async with bff_client(app) as client:
        app.idempotency._store = Broken(store_of(app))
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 201
    assert service.done == ["a-key-of-mine"]


async def test_a_store_that_goes_meanwhile(embedded: Bff, service: Service) -> None:
    """Whoever asked gets the answer; a repetition waits for the lease and tries again."""
    service.hold = asyncio.Event()
    async with bff_client(embedded) as client:
        first = asyncio.create_task(client.post("/things", json=LAMP, headers=KEY))
        while not service.done:
            await asyncio.sleep(0.01)
        whole = store_of(embedded)
        embedded.idempotency._store = Broken(whole)
        service.hold.set()
        assert (await first).status_code == 201
        embedded.idempotency._store = whole
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 409


async def test_another_version_s_record_is_not_guessed(embedded: Bff, service: Service) -> None:
    async with bff_client(embedded) as client:
        await client.post("/things", json=LAMP, headers=KEY)
        store = store_of(embedded)
        for key in list(store._values):  # type: ignore[attr-defined]
            await store.put(key, b"9Z something", 60)
        assert (await client.post("/things", json=LAMP, headers=KEY)).status_code == 503
    assert len(service.done) == 1


async def test_a_day_later_it_is_forgotten(service: Service) -> None:
    now = [0.0]
    app = gateway("memory://", service)
    store_of(app)._clock = lambda: now[0]  # type: ignore[attr-defined]
    async with bff_client(app) as client:
        await client.post("/things", json=LAMP, headers=KEY)
        now[0] = ledger.EXPIRY - 1
        assert "idempotency-replayed" in (await client.post("/things", json=LAMP, headers=KEY)).headers
        now[0] = ledger.EXPIRY
        assert "idempotency-replayed" not in (await client.post("/things", json=LAMP, headers=KEY)).headers
    assert len(service.done) == 2


def test_where_it_makes_no_sense() -> None:
    app = create_bff("t", settings=Settings(), clients=[])
    with pytest.raises(DeclarationError, match="not for a public page"):
        app.page("/touches", Touch, method="POST", public=True, idempotency="required")


def test_a_store_that_there_is_not() -> None:
    with pytest.raises(SettingsError, match="idempotency_url"):
        Settings.load(idempotency_url="mysql://x")
    with pytest.raises(SettingsError, match="is no folder"):
        gateway("sqlite:////nowhere/at/all.db", Service())


def test_nothing_is_opened_for_who_needs_none() -> None:
    assert create_bff("t", settings=Settings(), clients=[]).idempotency._store is None


def test_the_document_says_so(embedded: Bff) -> None:
    paths = embedded.openapi()["paths"]
    for path, needed in (("/things", True), ("/others", False), ("/touches", True)):
        operation = paths[path]["post"]
        headers = [entry for entry in operation["parameters"] if entry["in"] == "header"]
        assert ("Idempotency-Key", needed) in [(entry["name"], entry["required"]) for entry in headers]
        assert headers[0]["schema"]["pattern"] == "^[!-~]{8,255}$"
        assert "409" in operation["responses"]
        assert "24 hours" in json.dumps(headers)
