"""Versions as clients meet them: how one is chosen, what it answers, how its end is announced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Query
from pydantic import BaseModel, SecretStr
from starlette.types import Scope

from bff_core import (
    Added,
    ApiKey,
    ApiKeys,
    Bff,
    Converted,
    DeclarationError,
    ErrorsChanged,
    Page,
    PageAdded,
    Principal,
    Removed,
    Renamed,
    ServiceClient,
    Settings,
    Version,
    Versions,
    create_bff,
    get,
    optional,
    post,
    required,
    section,
    shape,
)
from bff_core.testing import FakeServices, bff_client, prove_versions
from bff_core.testing.versions import undescribed

from .shapes import OldError, old_error


class Product(BaseModel):
    id: str
    name: str
    cents: int


class NewProduct(BaseModel):
    name: str
    cents: int
    brand: str


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...

    @get("/search")
    async def search(self, q: str, limit: int) -> list[Product]: ...

    @get("/stock/{product_id}", at="available")
    async def stock(self, product_id: str) -> int: ...

    @post("/products")
    async def create(self, new: NewProduct) -> Product: ...


class Shown(BaseModel):
    id: str
    title: str
    cents: int
    stock: int | None


class ProductPage(Page):
    product = required(Catalog.product)
    stock = optional(Catalog.stock, feeds=["stock"])

    @shape
    def shown(self, product: Product, stock: int | None) -> Shown:
        return Shown(id=product.id, title=product.name, cents=product.cents, stock=stock)


class Found(BaseModel):
    items: list[Shown]


class SearchPage(Page):
    q: str
    limit: Annotated[int, Query(ge=1, le=50)] = 5
    products = required(Catalog.search)

    @shape
    def found(self, products: list[Product]) -> Found:
        return Found(items=[Shown(id=p.id, title=p.name, cents=p.cents, stock=None) for p in products])


class NewPage(Page):
    new: NewProduct

    @section
    async def product(self, new: NewProduct, catalog: Catalog) -> Product:
        return await catalog.create(new)


class PlainPage(Page):
    product = required(Catalog.product)
    stock = optional(Catalog.stock)


Plain = PlainPage.plan.model
NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def history(now: float = NOW) -> Versions:
    return Versions(
        Version(
            "2026-05-01",
            Renamed(Shown, "name", to="title"),
            Converted(
                Shown, "cents", was=str, down=lambda cents: f"{cents / 100:.2f}", up=lambda s: int(float(s) * 100)
            ),
            Renamed(Plain, "available", to="stock"),
            Renamed(NewProduct, "title", to="name"),
            Added(NewProduct, "brand", default="none"),
            Renamed(SearchPage, "page_size", to="limit"),
            Added(SearchPage, "q", default="everything"),
            path="/v3",
        ),
        Version(
            "2025-03-01",
            ErrorsChanged(old_error, OldError),
            Added(Shown, "stock"),
            Removed(Shown, "legacy", was=int, value=0),
            Removed(SearchPage, "lang"),
            PageAdded(PlainPage),
            path="/v2",
            deprecated=date(2026, 1, 1),
            sunset=date(2027, 1, 1),
            guide="https://docs.example/moving",
        ),
        Version("2024-01-01", path="/v1", deprecated=date(2025, 1, 1), sunset=date(2026, 7, 1)),
        clock=lambda: now,
    )


def services() -> FakeServices:
    services = FakeServices("catalog")
    row = {"id": "p1", "name": "Lamp", "cents": 1999}
    services["catalog"].get("/products/p1").respond(json=row)
    services["catalog"].get("/products/none").respond(404)
    services["catalog"].get("/stock/p1").respond(json={"available": 3})
    services["catalog"].get(path="/search").mock(
        side_effect=lambda request: httpx.Response(200, json=[{**row, "name": str(request.url.query, "ascii")}])
    )
    services["catalog"].post("/products").mock(
        side_effect=lambda request: httpx.Response(200, json={"id": "p2", **json.loads(request.content)})
    )
    return services


def gateway(versions: Versions | None, played: FakeServices, **options: Any) -> Bff:
    settings = Settings(services=played.settings, log_level="ERROR")
    app = create_bff(
        "t", settings=settings, clients=[Catalog], transport=played.transport, versions=versions, **options
    )
    app.page("/products/{product_id}", ProductPage, public=True)
    app.page("/search", SearchPage, public=True)
    app.page("/plain/{product_id}", PlainPage, public=True)
    app.page("/products", NewPage, method="POST", status=201, public=True)
    return app


@pytest.fixture
def played() -> FakeServices:
    return services()


@pytest.fixture
async def client(played: FakeServices) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(gateway(history(), played)) as client:
        yield client


HEAD = {"id": "p1", "title": "Lamp", "cents": 1999, "stock": 3}
SECOND = {"id": "p1", "name": "Lamp", "cents": "19.99", "stock": 3}
FIRST = {"id": "p1", "name": "Lamp", "cents": "19.99", "legacy": 0}


@pytest.mark.parametrize(
    ("path", "header", "version", "body"),
    [
        ("/products/p1", None, "2026-05-01", HEAD),
        ("/products/p1", "2026-05-01", "2026-05-01", HEAD),
        ("/products/p1", "2025-03-01", "2025-03-01", SECOND),
        ("/products/p1", "v1", "2024-01-01", FIRST),
        ("/v3/products/p1", None, "2026-05-01", HEAD),
        ("/v2/products/p1", None, "2025-03-01", SECOND),
        ("/v1/products/p1", None, "2024-01-01", FIRST),
        ("/v1/products/p1", "2024-01-01", "2024-01-01", FIRST),
    ],
)
async def test_the_version_asked_for(
    client: httpx.AsyncClient, path: str, header: str | None, version: str, body: dict[str, Any]
) -> None:
    """By path or header; the answer says which it is, and that it depends on the header."""
    answer = await client.get(path, headers={} if header is None else {"api-version": header})
    assert (answer.status_code, answer.json()) == (200, body)
    assert answer.headers["api-version"] == version
    assert answer.headers["vary"] == "API-Version"


@pytest.mark.parametrize("header", ["2026-05-02", "v9", "1", "", "latest", "x" * 500, "v1, v2"])
async def test_an_unknown_version_is_never_another(client: httpx.AsyncClient, header: str) -> None:
    """A 400 that lists what there is."""
    answer = await client.get("/products/p1", headers={"api-version": header})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["supported"] == ["2026-05-01", "2025-03-01", "2024-01-01"]


async def test_path_and_header_must_agree(client: httpx.AsyncClient) -> None:
    """Nobody can say which one is meant; two headers neither."""
    for headers in ([("api-version", "v2")], [("api-version", "v1"), ("api-version", "v2")]):
        answer = await client.get("/v1/products/p1", headers=headers)
        assert answer.status_code == 400


async def test_the_end_is_announced_and_comes(played: FakeServices) -> None:
    """RFC 9745, RFC 8594, links; at midnight of the day named it is a 410 that lists what there is."""
    for now, status in ((date(2026, 7, 1), 410), (date(2026, 6, 30), 200)):
        instant = datetime(now.year, now.month, now.day, tzinfo=UTC).timestamp()
        async with bff_client(gateway(history(instant), played)) as client:
            first = await client.get("/v1/products/p1")
            second = await client.get("/products/p1", headers={"api-version": "v2"})
            nested = await client.get("/v2/products/p1")
        assert first.status_code == status
        assert first.headers["deprecation"] == "@1735689600"
        assert first.headers["sunset"] == "Wed, 01 Jul 2026 00:00:00 GMT"
    assert '</v3/products/p1>; rel="successor-version"' in first.headers["link"]
    assert second.headers["sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
    links = second.headers["link"]
    assert '<https://docs.example/moving>; rel="deprecation"; type="text/html"' in links
    assert '<https://docs.example/moving>; rel="sunset"' in links
    assert "successor-version" not in links  # the same URL
    assert "successor-version" in nested.headers["link"]


async def test_what_has_ended_says_so_in_its_own_words(played: FakeServices) -> None:
    """The clients of an old version read the errors of that version; newer ones get the list as well."""
    async with bff_client(gateway(history(datetime(2030, 1, 1, tzinfo=UTC).timestamp()), played)) as client:
        first = await client.get("/v1/products/p1")
        second = await client.get("/v2/products/p1")
    assert first.json() == {"error": "Gone", "code": 410}
    assert second.json()["supported"] == ["2026-05-01"]


async def test_links_are_safe(client: httpx.AsyncClient) -> None:
    """Nothing in a path ends the link."""
    answer = await client.get("/v1/products/a%3E%2C%20x")
    assert '</v3/products/a%3E,%20x>; rel="successor-version"' in answer.headers["link"]


async def test_errors_have_their_old_shape(client: httpx.AsyncClient) -> None:
    """Whatever fails and wherever, also where no page is."""
    for path in ("/v1/products/none", "/v1/nothing", "/v1/products/p1?fields=nothing", f"/v1/products/p1?{'x' * 9000}"):
        answer = await client.get(path)
        assert answer.headers["content-type"] == "application/json", path
        assert set(answer.json()) == {"error", "code"}
        assert answer.json()["code"] == answer.status_code
        assert answer.headers["api-version"] == "2024-01-01"
    for path in ("/v2/products/none", "/products/none", "/nothing"):
        answer = await client.get(path)
        assert answer.headers["content-type"] == "application/problem+json", path
    answer = await client.get("/nothing", headers={"api-version": "v1"})
    assert answer.json() == {"error": "Not Found", "code": 404}


async def test_fields_are_the_versions_own(client: httpx.AsyncClient, played: FakeServices) -> None:
    """Asked for by their old names, called for as little as ever."""
    assert (await client.get("/v2/products/p1?fields=name,cents")).json() == {"name": "Lamp", "cents": "19.99"}
    assert played["catalog"].routes[2].call_count == 0  # the stock
    assert (await client.get("/v2/products/p1?fields=title")).status_code == 400
    answer = await client.get("/v1/products/p1?fields=stock")
    assert answer.status_code == 400
    assert (await client.get("/v3/products/p1?fields=title")).json() == {"title": "Lamp"}


async def test_any_fields_of_any_version(client: httpx.AsyncClient) -> None:
    """Each selection is that part of the whole."""
    for version, whole in (("v3", HEAD), ("v2", SECOND), ("v1", FIRST)):
        for size in range(1, len(whole) + 1):
            for names in combinations(whole, size):
                answer = await client.get(f"/{version}/products/p1?fields={','.join(names)}")
                assert answer.json() == {name: whole[name] for name in names}


async def test_the_head_pays_nothing(played: FakeServices) -> None:
    """No change is looked at for it; each older version looks at its own once."""
    calls: list[int] = []

    def seen(cents: int) -> int:
        calls.append(cents)
        return cents

    versions = Versions(
        Version("2026-01-02", Converted(Shown, "cents", was=int, down=seen)),
        Version("2026-01-01"),
    )
    async with bff_client(gateway(versions, played)) as client:
        assert (await client.get("/products/p1")).json() == HEAD
        assert calls == []
        assert (await client.get("/products/p1", headers={"api-version": "2026-01-01"})).json()
        assert calls == [1999]


async def test_an_error_is_answered_even_if_its_old_shape_cannot_be_made(played: FakeServices) -> None:
    """As a problem document then."""

    def broken(document: dict[str, Any]) -> dict[str, Any]:
        raise KeyError(document["status"])

    versions = Versions(Version("2026-01-02", ErrorsChanged(broken, OldError)), Version("2026-01-01"))
    async with bff_client(gateway(versions, played)) as client:
        answer = await client.get("/products/none", headers={"api-version": "2026-01-01"})
    assert answer.status_code == 404
    assert answer.json()["title"] == "Not Found"


async def test_query_parameters(client: httpx.AsyncClient) -> None:
    """Renamed, with defaults for those that are new, without those that are no more; problems name the old ones."""
    assert (await client.get("/v3/search?q=x&limit=2")).json()["items"][0]["title"] == "q=x&limit=2"
    for path in ("/v2", "/v1"):
        first = (await client.get(f"{path}/search?page_size=2&lang=de&q=y&limit=50")).json()["items"][0]
        assert first["name"] == "q=everything&limit=2"
        for unknown in ("", "?limit=2", "?q=x"):
            answer = await client.get(f"{path}/search{unknown}")
            assert answer.json()["items"][0]["name"] == "q=everything&limit=5"
    wrong = await client.get("/v2/search?page_size=0")
    assert wrong.status_code == 422
    assert [entry["name"] for entry in wrong.json()["errors"]] == ["page_size"]
    assert (await client.get("/v3/search?page_size=2")).status_code == 422


async def test_bodies(client: httpx.AsyncClient) -> None:
    """An older request is read as its version says, then as the head's; problems name what was sent."""
    answer = await client.post("/v1/products", json={"title": "Lamp", "cents": 5, "brand": "mine"})
    assert answer.status_code == 201
    assert answer.json()["product"] == {"id": "p2", "name": "Lamp", "cents": 5}
    for body in ({"cents": 5}, {"name": "Lamp", "cents": 5}):
        answer = await client.post("/v2/products", json=body)
        assert answer.status_code == 422
        assert [entry["pointer"] for entry in answer.json()["errors"]] == ["/title"]
    for broken in (b"{", b"[]", b"null", b"\xff", b""):
        answer = await client.post("/v2/products", content=broken, headers={"content-type": "application/json"})
        assert answer.status_code == 422
    assert (await client.post("/v3/products", json={"title": "Lamp", "cents": 5})).status_code == 422


class Till(BaseModel):
    cents: int
    code: SecretStr
    counts: list[int] = []
    paid: bool = False


class TillPage(Page):
    till: Till

    @section
    def seen(self, till: Till) -> dict[str, Any]:
        return {**till.model_dump(mode="json"), "code": till.code.get_secret_value()}


@pytest.mark.parametrize("cents", [12, "12", 12.0, " 12 "])
async def test_what_goes_up_is_what_was_read(cents: Any) -> None:
    """A number that came as a string is a number to ``up``, within lists, too; a secret stays what it is."""
    versions = Versions(
        Version(
            "2026-02-01",
            Converted(Till, "cents", was=int, down=lambda cents: cents // 100, up=lambda euros: euros * 100),
            Converted(Till, "counts", was=list[int], down=list, up=lambda counts: [count + 1 for count in counts]),
            Converted(Till, "paid", was=bool, down=bool, up=lambda paid: paid is True),
        ),
        Version("2026-01-01"),
    )
    app = create_bff("t", clients=[], settings=Settings(log_level="ERROR"), versions=versions)
    app.page("/tills", TillPage, method="POST", public=True)
    sent = {"cents": cents, "code": "1234", "counts": ["1", 2], "paid": "yes"}
    async with bff_client(app) as client:
        answer = await client.post("/tills", headers={"api-version": "2026-01-01"}, json=sent)
    assert answer.json() == {"seen": {"cents": 1200, "code": "1234", "counts": [2, 3], "paid": True}}


async def test_pages_that_are_new(client: httpx.AsyncClient) -> None:
    """An older version does not have them, by path or by header."""
    assert (await client.get("/v2/plain/p1")).status_code == 200
    assert (await client.get("/v1/plain/p1")).status_code == 404
    answer = await client.get("/plain/p1", headers={"api-version": "v1"})
    assert answer.json() == {"error": "Not Found", "code": 404}


async def test_degraded_sections_have_their_old_names(client: httpx.AsyncClient, played: FakeServices) -> None:
    """Of a page without a shape the sections are the members."""
    played["catalog"].get("/stock/p1").respond(500)
    assert (await client.get("/v3/plain/p1")).json()["_degraded"] == ["stock"]
    old = (await client.get("/v2/plain/p1")).json()
    assert old["available"] is None
    assert old["_degraded"] == ["available"]


async def test_sections_are_asked_for_by_their_old_names(client: httpx.AsyncClient, played: FakeServices) -> None:
    """What ``?include=`` takes is what the version calls its members; the newest's names are not its own."""
    stock = played["catalog"].get("/stock/p1").respond(json={"available": 3})
    head = await client.get("/v3/plain/p1?include=stock")
    second = await client.get("/v2/plain/p1?include=available")
    assert (head.json()["stock"], second.json()["available"]) == (3, 3)
    calls = stock.calls.call_count
    assert calls == 2
    assert (await client.get("/v2/plain/p1?include=")).json()["available"] is None
    assert (await client.get("/v2/plain/p1?include=available&fields=available")).json() == {"available": 3}
    wrong = await client.get("/v2/plain/p1?include=stock")
    assert wrong.status_code == 400
    assert (wrong.json()["unknown"], wrong.json()["available"]) == (["stock"], ["available"])
    assert (await client.get("/v3/plain/p1?include=available")).json()["available"] == ["stock"]
    assert stock.calls.call_count == calls + 1


async def test_a_section_that_only_newer_versions_know_cannot_be_asked_for(played: FakeServices) -> None:
    versions = Versions(Version("2026-05-01", Added(Plain, "stock"), path="/v2"), Version("2025-01-01", path="/v1"))
    async with bff_client(gateway(versions, played)) as client:
        assert (await client.get("/v2/plain/p1?include=stock")).json()["stock"] == 3
        old = await client.get("/v1/plain/p1?include=stock")
        assert (old.status_code, old.json()["available"]) == (400, [])
        # Of a page with a shape sections are no members, and are called the same in all its versions.
        assert (await client.get("/v1/products/p1?include=stock")).json()["stock"] == 3


async def test_documents_say_what_can_be_included(client: httpx.AsyncClient) -> None:
    for version, called in (("v3", "stock"), ("v2", "available")):
        document = (await client.get(f"/openapi/{version}.json")).json()
        parameters = document["paths"][f"/{version}/plain/{{product_id}}"]["get"]["parameters"]
        (include,) = [each for each in parameters if each["name"] == "include"]
        assert include["description"].endswith(f": {called}.")


class Pinned:
    """Lets everybody in, pinned to what the header ``x-pin`` says."""

    challenge = "Pin"
    scheme: dict[str, str] = {"type": "apiKey", "in": "header", "name": "x-pin"}  # noqa: RUF012 - the protocol's

    async def authenticate(self, scope: Scope) -> Principal | None:
        pin = dict(scope["headers"]).get(b"x-pin")
        return Principal("acme", tenant="acme-inc", claims={"api_version": json.loads(pin)} if pin else {})

    async def aclose(self) -> None: ...


async def test_pinned_clients(played: FakeServices) -> None:
    """Their version without a word, another for the asking; a version that is no more is said so, not replaced."""
    versions = history()
    settings = Settings(services=played.settings, log_level="ERROR")
    app = create_bff(
        "t", settings=settings, clients=[Catalog], transport=played.transport, versions=versions, auth=Pinned()
    )
    app.page("/products/{product_id}", ProductPage)
    async with bff_client(app) as client:

        async def asked(pin: Any, header: str | None = None, path: str = "/products/p1") -> httpx.Response:
            headers = {"x-pin": json.dumps(pin)} | ({"api-version": header} if header else {})
            return await client.get(path, headers=headers)

        assert (await asked("2024-01-01")).json() == FIRST
        assert (await asked("2024-01-01", "v3")).json() == HEAD
        assert (await asked("2024-01-01", path="/v2/products/p1")).json() == SECOND
        assert (await asked(None)).json() == HEAD
        unserved: list[Any] = ["2020-01-01", 5, ["v1"], {}]
        for pin in unserved:
            answer = await asked(pin)
            assert answer.status_code == 410
            assert answer.json()["supported"]
        # A pinned client reads errors in its version also when it is not known before the gate.
        assert (await asked("2024-01-01", path="/products/none")).json() == {"error": "Not Found", "code": 404}
    assert {who: usage.count for who, usage in versions.usage.of("2024-01-01").items()} == {"acme-inc": 2}


async def test_who_may_not_come_in_is_told_in_the_version_of_the_path(played: FakeServices) -> None:
    """Before anything is known of the client."""
    key = ApiKey(sha256=hashlib.sha256(b"x").hexdigest(), partner="p")
    settings = Settings(services=played.settings, log_level="ERROR")
    app = create_bff("t", settings=settings, clients=[Catalog], versions=history(), auth=ApiKeys([key]))
    app.page("/products/{product_id}", ProductPage)
    async with bff_client(app) as client:
        assert (await client.get("/v1/products/p1")).json() == {"error": "Unauthorized", "code": 401}
        assert (await client.get("/v2/products/p1")).json()["title"] == "Unauthorized"


async def test_cached_pages_are_of_one_version(played: FakeServices) -> None:
    """The same URL in two versions is two pages."""
    row = {"id": "p1", "name": "Lamp", "cents": 1999}
    played["catalog"].get("/products/p1").respond(json=row, headers={"cache-control": "max-age=60"})
    played["catalog"].get("/stock/p1").respond(json={"available": 3}, headers={"cache-control": "max-age=60"})
    settings = Settings(services=played.settings, log_level="ERROR")
    app = create_bff("t", settings=settings, clients=[Catalog], transport=played.transport, versions=history())
    app.page("/products/{product_id}", ProductPage, public=True, cache=True)
    async with bff_client(app) as client:
        for header, body in (("v3", HEAD), ("v2", SECOND), ("v1", FIRST)) * 2:
            assert (await client.get("/products/p1", headers={"api-version": header})).json() == body
        again = await client.get("/products/p1", headers={"api-version": "v1"})
    assert "age" in again.headers
    assert again.headers["api-version"] == "2024-01-01"


async def test_documents_say_what_is_sent(client: httpx.AsyncClient) -> None:
    """Every version's real answers, errors too, are what its own document describes, and not what another's does."""
    app: Any = client._transport.app  # type: ignore[attr-defined]
    for version in ("v1", "v2", "v3"):
        document = (await client.get(f"/openapi/{version}.json")).json()
        for path, route in (("products/p1", "/products/{product_id}"), ("search?q=x", "/search")):
            answer = await client.get(f"/{version}/{path}")
            assert undescribed(document, ("get", route), answer) == []
            for other in {"v1", "v2", "v3"} - {version}:
                assert undescribed(app.openapi_of(other), ("get", route), answer) != []
        missing = await client.get(f"/{version}/products/none")
        assert undescribed(document, ("get", "/products/{product_id}"), missing) == []
    assert (await client.get("/openapi/v9.json")).status_code == 404


async def test_documents_say_what_is_asked(client: httpx.AsyncClient) -> None:
    """Parameters and bodies have the names and types of their version; what is not there is not described."""
    documents = {name: (await client.get(f"/openapi/{name}.json")).json() for name in ("v1", "v2", "v3")}
    names = {
        name: {parameter["name"] for parameter in document["paths"][f"/{name}/search"]["get"]["parameters"]}
        for name, document in documents.items()
    }
    assert names == {
        "v1": {"page_size", "lang", "fields"},
        "v2": {"page_size", "fields"},
        "v3": {"q", "limit", "fields"},
    }
    page_size = next(
        entry for entry in documents["v2"]["paths"]["/v2/search"]["get"]["parameters"] if entry["name"] == "page_size"
    )
    assert page_size["schema"]["maximum"] == 50
    schemas = {name: document["components"]["schemas"]["NewProduct"] for name, document in documents.items()}
    assert list(schemas["v1"]["properties"]) == ["title", "cents"]
    assert list(schemas["v3"]["properties"]) == ["name", "cents", "brand"]
    assert "/v1/plain/{product_id}" not in documents["v1"]["paths"]
    assert documents["v1"]["paths"]["/v1/search"]["get"]["deprecated"] is True
    assert documents["v1"]["info"]["version"] == "2024-01-01"
    head = (await client.get("/openapi.json")).json()
    assert list(head["paths"]) == ["/products/{product_id}", "/search", "/plain/{product_id}", "/products"]
    asked = next(entry for entry in head["paths"]["/search"]["get"]["parameters"] if entry["in"] == "header")
    assert asked["name"] == "API-Version"
    assert asked["required"] is False


def test_requests_that_cannot_be_carried_up_are_refused_at_import() -> None:
    """A page that reads a body of which an older version cannot say what the head needs."""
    for change, message in (
        (Added(NewProduct, "brand"), "'brand' is required, so that older requests need a default"),
        (Converted(NewProduct, "cents", was=str, down=str), "requests need up="),
    ):
        versions = Versions(Version("2026-01-02", change), Version("2026-01-01"))
        with pytest.raises(DeclarationError, match=message):
            gateway(versions, services())
    for wrong in (Renamed(SearchPage, "a", to="b"), Added(SearchPage, "b"), Removed(SearchPage, "q")):
        versions = Versions(Version("2026-01-02", wrong), Version("2026-01-01"))
        with pytest.raises(DeclarationError, match=r"SearchPage: .*its query parameters after that are: q, limit"):
            gateway(versions, services())
    with pytest.raises(DeclarationError, match="a page's parameters can be Renamed, Added or Removed"):
        Versions(Version("2026-01-02", Converted(SearchPage, "q", was=int, down=int)), Version("2026-01-01"))


async def test_examples_prove_versions(tmp_path: Path, played: FakeServices) -> None:
    """Recorded once, compared ever after; what no example shows and what has changed is said."""
    requests = {"one": "/products/p1", "none": "/products/none", "search": "/search?q=x", "plain": "/plain/p1"}
    versions = history()
    app = gateway(versions, played)
    new = {"v3": {"name": "x", "cents": 1, "brand": "b"}}
    for version in versions.all:
        (tmp_path / version.name).mkdir()
        for name, path in requests.items():
            if not (name == "plain" and version.alias == "v1"):
                (tmp_path / version.name / f"{name}.json").write_text(json.dumps({"request": {"path": path}}))
    with pytest.raises(AssertionError, match="2024-01-01: no example of POST /products"):
        await prove_versions(app, tmp_path)
    for version in versions.all:
        body = new.get(version.alias, {"title": "x", "cents": 1})
        request = {"method": "POST", "path": "/products", "body": body}
        (tmp_path / version.name / "new.json").write_text(json.dumps({"request": request}))
    with pytest.raises(AssertionError, match="has no recorded answer"):
        await prove_versions(app, tmp_path)
    await prove_versions(app, tmp_path, record=True)
    await prove_versions(app, tmp_path)
    one = tmp_path / "2024-01-01" / "one.json"
    assert json.loads(one.read_text())["answer"] == {"status": 200, "body": FIRST}
    one.write_text(one.read_text().replace("Lamp", "Lump"))
    with pytest.raises(AssertionError, match=r'^2024-01-01/one.json: answer .*"Lamp".*, recorded: .*"Lump"[^\n]*$'):
        await prove_versions(app, tmp_path)


def test_a_gateway_without_versions_has_none() -> None:
    """No routes, no header, no document."""
    app = gateway(None, services())
    assert app.pages[0].versions is None
    with pytest.raises(KeyError):
        app.openapi_of("v1")
