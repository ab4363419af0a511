"""Pages, delivered: 304, Cache-Control, compression, and nothing of it where it does not belong."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Header
from pydantic import BaseModel

from bff_core import (
    ApiKey,
    ApiKeys,
    Bff,
    DeclarationError,
    Page,
    ServiceClient,
    Settings,
    create_bff,
    get,
    optional,
    post,
    required,
)
from bff_core.delivery import coding
from bff_core.pages import endpoint
from bff_core.testing import FakeServices, bff_client

pytestmark = pytest.mark.anyio
KEY = {"x-api-key": "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"}
PARTNER = ApiKey(sha256="8f77a1c1a2b2bd0a2bdd2aa3b4b6a1bb2f9a6bdc6e3c9d3f0d0f3d2b7a1a0e11", partner="acme")


class Thing(BaseModel):
    text: str


class Things(ServiceClient, service="things"):
    @get("/thing")
    async def thing(self) -> Thing: ...

    @get("/notes")
    async def notes(self) -> list[str]: ...

    @post("/things")
    async def make(self) -> Thing: ...


class ThingPage(Page):
    thing = required(Things.thing)
    notes = optional(Things.notes, fallback=[])


class ShadePage(Page):
    shade: Annotated[str, Header()] = ""
    theme: Annotated[str, Cookie()] = ""
    thing = required(Things.thing)


class MakeThing(Page):
    thing = required(Things.make)
    notes = optional(Things.notes, fallback=[])


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("things")
    services["things"].get("/thing").respond(json={"text": "long " * 400}, headers={"cache-control": "max-age=60"})
    services["things"].get("/notes").respond(json=["n"], headers={"cache-control": "max-age=60"})
    services["things"].post("/things").respond(json={"text": "made"})
    return services


def gateway(services: FakeServices, auth: Any = None, **delivery: Any) -> Bff:
    settings = Settings(services=services.settings, delivery=delivery)
    return create_bff("t", clients=[Things], settings=settings, auth=auth, transport=services.transport)


@pytest.mark.parametrize("cache", [False, True])
async def test_who_has_the_page_is_told_so(services: FakeServices, cache: bool) -> None:
    app = gateway(services)
    app.page("/thing", ThingPage, public=True, cache=cache)
    async with bff_client(app) as client:
        first = await client.get("/thing")
        again = await client.get("/thing", headers={"if-none-match": f'"x", W/{first.headers["etag"]}'})
        head = await client.head("/thing", headers={"if-none-match": "*"})
        other = await client.head("/thing", headers={"if-none-match": '"x"'})
    assert first.headers["etag"].startswith('"')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"] == other.headers["etag"]
    assert "content-type" not in again.headers
    assert "content-length" not in again.headers
    assert again.headers["x-request-id"]
    assert head.status_code == 304
    assert other.status_code == 200
    assert int(other.headers["content-length"]) == len(first.content)
    assert ("age" in again.headers) is cache


async def test_another_content_has_another_tag(services: FakeServices) -> None:
    app = gateway(services)
    app.page("/thing", ThingPage, public=True)
    async with bff_client(app) as client:
        first = await client.get("/thing?fields=thing")
        again = await client.get("/thing?fields=notes", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200


async def test_what_is_not_whole_has_no_tag(services: FakeServices) -> None:
    services["things"].get("/notes").respond(500)
    app = gateway(services, codings=("gzip",))
    app.page("/thing", ThingPage, public=True, cache_control="public, max-age=60")
    async with bff_client(app) as client:
        answer = await client.get("/thing", headers={"if-none-match": "*", "accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.json()["_degraded"] == ["notes"]


async def test_what_is_off_is_not_there(services: FakeServices) -> None:
    app = gateway(services, etag=False)
    app.page("/thing", ThingPage, public=True)
    async with bff_client(app) as client:
        answer = await client.get("/thing", headers={"if-none-match": "*", "accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert not {"etag", "vary", "content-encoding", "cache-control"} & answer.headers.keys()


async def test_cache_control_and_vary_say_who_may_keep_it(services: FakeServices) -> None:
    app = gateway(services, auth=ApiKeys([PARTNER], header="X-Partner"))
    app.page("/own", ThingPage, cache_control="private, max-age=30")
    app.page("/shade", ShadePage, public=True, cache_control="public, max-age=60")
    app.page("/never", ShadePage, public=True, cache_control="no-store")
    async with bff_client(app) as client:
        shade = await client.get("/shade")
        again = await client.get("/shade", headers={"if-none-match": shade.headers["etag"]})
        never = await client.get("/never")
        own = await client.get("/own")
    for answer in (shade, again):
        assert answer.headers["cache-control"] == "public, max-age=60"
        assert answer.headers["vary"] == "cookie, shade"
    assert "vary" not in never.headers
    assert own.status_code == 401
    assert own.headers["cache-control"] == "no-store"
    headers = dict(next(page for page in app.pages if page.path == "/own").direct._headers)
    assert headers == {b"cache-control": b"private, max-age=30", b"vary": b"authorization, cookie, x-partner"}


def test_a_wrong_declaration_is_found_at_import(services: FakeServices) -> None:
    app = gateway(services, auth=ApiKeys([PARTNER]))
    with pytest.raises(DeclarationError, match="ThingPage is private, so cache_control must say"):
        app.page("/own", ThingPage, cache_control="max-age=30")
    with pytest.raises(DeclarationError, match="only a GET page can have cache_control"):
        app.page("/make", MakeThing, method="POST", public=True, cache_control="no-store")


async def test_what_is_compressed_is_of_one_page(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even were there one tag for two pages."""
    monkeypatch.setattr(endpoint, "entity_tag", lambda _: b'"same"')
    app = gateway(services, codings=("gzip",))
    app.page("/thing", ThingPage, public=True, cache=True)
    async with bff_client(app) as client:
        whole = await client.get("/thing", headers={"accept-encoding": "gzip"})
        part = await client.get("/thing?fields=thing", headers={"accept-encoding": "gzip"})
    assert "notes" in whole.json()
    assert "notes" not in part.json()


@pytest.mark.parametrize("cache", [False, True])
async def test_a_page_is_compressed_for_who_can_read_it(services: FakeServices, cache: bool) -> None:
    app = gateway(services, codings=("br", "gzip"))
    app.page("/thing", ThingPage, public=True, cache=cache)
    async with bff_client(app) as client:
        plain = await client.get("/thing", headers={"accept-encoding": "identity"})
        zipped = await client.get("/thing", headers={"accept-encoding": "gzip"})
        brotli = await client.get("/thing", headers={"accept-encoding": "gzip, br"})
        small = await client.get("/thing?fields=notes", headers={"accept-encoding": "br"})
        known = await client.get("/thing", headers={"accept-encoding": "br", "if-none-match": brotli.headers["etag"]})
        head = await client.head("/thing", headers={"accept-encoding": "br"})
    assert plain.json() == zipped.json() == brotli.json()
    assert "content-encoding" not in plain.headers
    assert (zipped.headers["content-encoding"], brotli.headers["content-encoding"]) == ("gzip", "br")
    assert int(brotli.headers["content-length"]) < len(plain.content) / 10
    assert {answer.headers["vary"] for answer in (plain, zipped, brotli, known)} == {"Accept-Encoding"}
    assert len({answer.headers["etag"] for answer in (plain, zipped, brotli)}) == 3
    assert "content-encoding" not in small.headers
    assert known.status_code == 304
    assert head.headers["content-length"] == brotli.headers["content-length"]


async def test_a_kept_page_is_compressed_once(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    monkeypatch.setattr(coding, "_gzip", lambda content: done.append(len(content)) or b"zipped")
    app = gateway(services, codings=("gzip",))
    app.page("/kept", ThingPage, public=True, cache=True)
    app.page("/thing", ThingPage, public=True)
    app.page("/secret", ThingPage, public=True, compress=False)
    async with bff_client(app) as client:
        for _ in range(3):
            request = client.build_request("GET", "/kept", headers={"accept-encoding": "gzip"})
            answer = await client.send(request, stream=True)
            assert [chunk async for chunk in answer.aiter_raw()] == [b"zipped"]
        assert len(done) == 1
        for _ in range(2):
            answer = await client.send(client.build_request("GET", "/thing"), stream=True)
            await answer.aclose()
        assert len(done) == 3
        secret = await client.get("/secret", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in secret.headers
    assert len(done) == 3


async def test_who_prefers_little_gets_nothing_back(services: FakeServices) -> None:
    app = gateway(services)
    app.page("/things", MakeThing, method="POST", status=201, public=True)
    app.page("/thing", ThingPage, public=True)
    minimal = {"prefer": "return=minimal"}
    async with bff_client(app) as client:
        whole = await client.post("/things")
        little = await client.post("/things", headers=minimal)
        read = await client.get("/thing", headers=minimal)
    services["things"].get("/notes").mock(return_value=httpx.Response(500))
    failing = gateway(services)
    failing.page("/things", MakeThing, method="POST", status=201, public=True)
    async with bff_client(failing) as client:
        degraded = await client.post("/things", headers=minimal)
    assert (whole.status_code, whole.json()["thing"]) == (201, {"text": "made"})
    assert (little.status_code, little.content) == (204, b"")
    assert little.headers["preference-applied"] == "return=minimal"
    assert "content-length" not in little.headers
    assert read.status_code == 200
    assert degraded.status_code == 201
    assert degraded.json()["_degraded"] == ["notes"]
    paths = app.openapi()["paths"]
    assert "204" in paths["/things"]["post"]["responses"]
    assert "304" in paths["/thing"]["get"]["responses"]
