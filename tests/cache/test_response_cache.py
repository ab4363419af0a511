"""The response cache, through pages: when a service is asked, and that nobody gets what is another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from valkey.asyncio import Valkey

from bff_core import (
    ApiKey,
    ApiKeys,
    Bff,
    Page,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    required,
)
from bff_core.testing import FakeServices, bff_client, refused_port
from tests.cache.test_valkey import Server


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/note")
    async def note(self) -> Note: ...

    @get("/fresh", policy=Policy(cache=False))
    async def uncached(self) -> Note: ...


class Public(Page):
    note = required(Notes.note)


class Mine(Page):
    note = required(Notes.note, when=lambda principal: principal is not None)


class Uncached(Page):
    note = required(Notes.uncached)


KEYS = [
    ApiKey(sha256="7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed", partner="one"),
    ApiKey(sha256="3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3", partner="two"),
]


class Origin:
    """A service that answers with a number that grows, and honours If-None-Match while ``changed`` is false."""

    def __init__(self, services: FakeServices) -> None:
        self.count = 0
        self.seen: list[httpx.Request] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.version = 1
        services["notes"].get(path__regex="/.*").mock(side_effect=self)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.count += 1
        self.seen.append(request)
        if self.status != 200:
            return httpx.Response(self.status)
        tag = f'"v{self.version}"'
        if request.headers.get("if-none-match") == tag:
            return httpx.Response(304, headers={**self.headers, "etag": tag})
        return httpx.Response(200, json={"text": f"v{self.version}"}, headers={**self.headers, "etag": tag})


def gateway(services: FakeServices, **settings: Any) -> Bff:
    policy = Policy(retry=RetryPolicy(attempts=1))
    loaded = Settings(
        services={"notes": ServiceSettings(**services.settings["notes"], policy=policy)},
        log_level="CRITICAL",
        **settings,
    )
    app = create_bff("t", settings=loaded, clients=[Notes], auth=ApiKeys(KEYS), transport=services.transport)
    app.page("/note", Public, public=True)
    app.page("/mine", Mine)
    app.page("/uncached", Uncached, public=True)
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


async def text(client: httpx.AsyncClient, path: str = "/note", key: str | None = None) -> str:
    answer = await client.get(path, headers={"x-api-key": key} if key else {})
    assert answer.status_code == 200, answer.text
    value: str = answer.json()["note"]["text"]
    return value


async def test_fresh_is_not_asked_for(client: httpx.AsyncClient, origin: Origin) -> None:
    """Within max-age the service hears nothing."""
    origin.headers = {"cache-control": "max-age=60"}
    assert [await text(client) for _ in range(5)] == ["v1"] * 5
    assert origin.count == 1


@pytest.mark.parametrize("header", ["no-store", "private, no-store", "max-age=0, no-store"])
async def test_what_must_not_be_kept_is_not(client: httpx.AsyncClient, origin: Origin, header: str) -> None:
    """Each time anew, and without a condition."""
    origin.headers = {"cache-control": header}
    await text(client)
    await text(client)
    assert origin.count == 2
    assert "if-none-match" not in origin.seen[1].headers


async def test_revalidation(client: httpx.AsyncClient, origin: Origin) -> None:
    """no-cache with an ETag: asked each time, sent again only when it changed."""
    origin.headers = {"cache-control": "no-cache"}
    assert [await text(client), await text(client)] == ["v1", "v1"]
    assert origin.seen[1].headers["if-none-match"] == '"v1"'
    origin.version = 2
    assert [await text(client), await text(client)] == ["v2", "v2"]
    assert origin.seen[3].headers["if-none-match"] == '"v2"'


async def test_stale_while_revalidate(client: httpx.AsyncClient, origin: Origin) -> None:
    """The stale answer at once, the new one fetched behind it, once."""
    origin.headers = {"cache-control": "max-age=0, stale-while-revalidate=60"}
    await text(client)
    origin.version = 2
    assert await text(client) == "v1"
    for _ in range(100):
        if origin.count == 2:
            break
        await asyncio.sleep(0.005)
    assert origin.count == 2
    for _ in range(100):  # turns, not time: the answer is there
        await asyncio.sleep(0)
    assert await text(client) == "v2"


async def test_stale_if_error(client: httpx.AsyncClient, origin: Origin) -> None:
    """A failing service does not take away what it allowed to be used; one that refuses does."""
    origin.headers = {"cache-control": "max-age=0, stale-if-error=60"}
    await text(client)
    origin.status = 503
    assert await text(client) == "v1"
    origin.status = 404
    assert (await client.get("/note")).status_code == 404
    origin.status = 200
    origin.headers = {"cache-control": "max-age=0"}
    await text(client)
    origin.status = 503
    assert (await client.get("/note")).status_code == 503


async def test_nobody_gets_anothers(client: httpx.AsyncClient, origin: Origin) -> None:
    """The same URL for two principals and for nobody: three requests, whatever the service allows."""
    for header in ("max-age=60", "public, max-age=60", "private, max-age=60"):
        origin.headers = {"cache-control": header}
        origin.count = 0
        for key in ("one", "two", "one", "two"):
            await text(client, "/mine", key)
        assert origin.count <= 2
    seen = {}
    for number, key in enumerate(("one", "two")):
        origin.version = 10 + number
        origin.headers = {"cache-control": "max-age=0, stale-if-error=60"}
        seen[key] = await text(client, "/mine", key)
    origin.status = 503
    assert [await text(client, "/mine", key) for key in ("one", "two")] == [seen["one"], seen["two"]]


async def test_vary_on_what_differs_is_not_reused(client: httpx.AsyncClient, origin: Origin) -> None:
    """An answer selected by a header that each request has anew is for that request only."""
    origin.headers = {"cache-control": "max-age=60", "vary": "x-request-id"}
    await text(client)
    await text(client)
    assert origin.count == 2


async def test_switched_off_per_operation(client: httpx.AsyncClient, origin: Origin) -> None:
    """A policy may say so."""
    origin.headers = {"cache-control": "max-age=60"}
    await text(client, "/uncached")
    await text(client, "/uncached")
    assert origin.count == 2


@pytest.mark.parametrize("forbids", ["no-store", "private"])
async def test_a_304_that_forbids_keeping(client: httpx.AsyncClient, origin: Origin, forbids: str) -> None:
    """It confirms what is stored, for this one time: what is next is asked for without conditions."""
    origin.headers = {"cache-control": "no-cache"}
    assert await text(client) == "v1"
    origin.headers = {"cache-control": forbids}
    assert [await text(client) for _ in range(3)] == ["v1"] * 3
    assert ["if-none-match" in request.headers for request in origin.seen] == [False, True, False, False]


async def test_a_304_about_something_else(services: FakeServices) -> None:
    """The service is asked again without conditions, and by the one call that all wait for."""
    conditional: list[bool] = []
    held = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        conditional.append("if-none-match" in request.headers)
        if conditional[-1]:
            return httpx.Response(304, headers={"etag": '"other"'})
        if len(conditional) > 1:
            await held.wait()
        return httpx.Response(200, json={"text": "new"}, headers={"etag": '"v1"', "cache-control": "no-cache"})

    services["notes"].get(path__regex="/.*").mock(side_effect=answer)
    app = gateway(services)
    async with bff_client(app) as client:
        assert await text(client) == "new"
        pages = [asyncio.create_task(client.get("/note")) for _ in range(3)]
        while len(conditional) < 3:
            await asyncio.sleep(0.001)
        held.set()
        assert [page.json()["note"]["text"] for page in await asyncio.gather(*pages)] == ["new"] * 3
        assert conditional == [False, True, False]
        held.clear()
        assert (await client.get("/note", headers={"grpc-timeout": "40m"})).status_code == 504
        assert not app.clients[Notes].bound["note"].flights
        held.set()


async def test_a_304_nobody_asked_for(client: httpx.AsyncClient, origin: Origin) -> None:
    """It is no answer."""
    origin.status = 304
    assert (await client.get("/note")).status_code == 502


@pytest.mark.usefixtures("patient")
async def test_replicas_share_a_valkey(services: FakeServices, origin: Origin) -> None:
    """What one replica asked for the other has; without the Valkey both go on by themselves, and when it is back."""
    server = Server()
    try:
        origin.headers = {"cache-control": "max-age=60"}
        async with (
            bff_client(gateway(services, cache_url=server.url)) as first,
            bff_client(gateway(services, cache_url=server.url)) as second,
        ):
            assert await text(first) == "v1"
            async with Valkey.from_url(server.url) as raw:
                while not await raw.dbsize():
                    await asyncio.sleep(0.001)
            assert await text(second) == "v1"
            assert origin.count == 1
            assert await text(second, "/mine", "one") == "v1"
            assert origin.count == 2
            server.kill()
            origin.headers = {"cache-control": "no-store"}
            assert [await text(client, "/mine", "two") for client in (first, second)] == ["v1", "v1"]
            assert origin.count == 4
            server.restart()
            assert await text(first) == "v1"
    finally:
        server.close()


async def test_a_store_that_is_down_at_start(services: FakeServices, origin: Origin) -> None:
    """The gateway starts and answers without it."""
    app = gateway(services, cache_url=f"valkey://127.0.0.1:{refused_port()}")
    async with bff_client(app) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert await text(client) == "v1"
