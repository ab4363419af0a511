"""Pages over played services: what a client gets, whatever the services do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header, Query
from pydantic import BaseModel

from bff_core import (
    ApiKey,
    ApiKeys,
    Bff,
    DeclarationError,
    Page,
    Principal,
    Problem,
    ServiceClient,
    Settings,
    create_bff,
    get,
    optional,
    post,
    required,
    section,
    shape,
)
from bff_core.testing import FakeServices, bff_client


class Product(BaseModel):
    id: str
    name: str


class Review(BaseModel):
    rating: int


class Item(BaseModel):
    product_id: str
    quantity: int = 1


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...

    @get("/products", batch="ids", batch_limit=3, at="items")
    async def products(self, ids: list[str]) -> list[Product]: ...

    @get("/search")
    async def search(self, q: str, limit: int = 5, tag: list[str] | None = None) -> list[Product]: ...

    @post("/carts/{user_id}/items")
    async def add(
        self, user_id: str, item: Item, trace: Annotated[str | None, Header(alias="X-Trace")] = None
    ) -> Item: ...


class Reviews(ServiceClient, service="reviews"):
    @get("/products/{product_id}/reviews")
    async def of_product(self, product_id: str) -> list[Review]: ...

    @get("/products/{product_id}/related")
    async def related(self, product_id: str) -> list[str]: ...


class Shown(BaseModel):
    name: str
    ratings: list[int]
    related: list[str]
    best: int | None


class ProductPage(Page):
    """One product."""

    product = required(Catalog.product)
    reviews = optional(Reviews.of_product, fallback=[], timeout=0.5, feeds=["ratings", "best"])
    related_ids = optional(Reviews.related, feeds=["related"])
    related = optional(Catalog.products, ids=lambda related_ids: related_ids, fallback=[], feeds=["related"])

    @section(optional=True, feeds=["best"])
    def best(self, reviews: list[Review]) -> int | None:
        return max((review.rating for review in reviews), default=None)

    @shape
    def shown(self, product: Product, reviews: list[Review], related: list[Product], best: int | None) -> Shown:
        return Shown(
            name=product.name,
            ratings=[review.rating for review in reviews],
            related=[other.name for other in related],
            best=best,
        )


class SearchPage(Page):
    q: Annotated[str, Query(min_length=1, max_length=20)]
    limit: Annotated[int, Query(ge=1, le=10)] = 5
    tag: list[str] | None = None
    results = required(Catalog.search)


class Mine(Page):
    products = required(Catalog.products, ids=lambda principal: [principal.subject])


class Add(Page):
    item: Item
    x_trace: Annotated[str | None, Header()] = None
    added = required(
        Catalog.add, user_id=lambda principal: principal.subject, trace=lambda x_trace: x_trace, relay_status=[409]
    )


class Broken(Page):
    product = required(Catalog.product)

    @section(optional=True, fallback=7)
    async def odd(self, product: Product) -> int:
        raise RuntimeError(f"secret {product.name}")

    @section(optional=True)
    async def slow(self, product: Product, catalog: Catalog) -> Product | None:
        return await catalog.product("slow")

    @section(optional=True)
    async def told(self, product: Product) -> int | None:
        raise Problem(418)


KEY = ApiKey(sha256="2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", partner="acme")  # of "key"


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("catalog", "reviews")
    catalog, reviews = services["catalog"], services["reviews"]
    catalog.get("/products/p1").respond(json={"id": "p1", "name": "Über"})
    catalog.get("/products", params={"ids": ["p2", "p3"]}).respond(
        json={"items": [{"id": "p2", "name": "two"}, {"id": "p3", "name": "three"}]}
    )
    catalog.get("/products", params={"ids": ["acme"]}).respond(json={"items": [{"id": "acme", "name": "A"}]})
    reviews.get("/products/p1/reviews").respond(json=[{"rating": 4}, {"rating": 5}])
    reviews.get("/products/p1/related").respond(json=["p2", "p3", "p2"])
    return services


@pytest.fixture
def app(services: FakeServices) -> Bff:
    settings = Settings(services=services.settings, log_level="CRITICAL", deadline=1.0)
    app = create_bff(
        "test", settings=settings, clients=[Catalog, Reviews], auth=ApiKeys([KEY]), transport=services.transport
    )
    app.page("/products/{product_id}", ProductPage, public=True)
    app.page("/broken/{product_id}", Broken, public=True)
    app.page("/search", SearchPage, public=True)
    app.page("/mine", Mine)
    app.page("/items", Add, method="POST", status=201)
    return app


@pytest.fixture
async def client(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(app) as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert document["instance"] == f"urn:request:{response.headers['x-request-id']}"
    return document


async def test_whole_page(client: httpx.AsyncClient, services: FakeServices) -> None:
    """Every section is there; a doubled id is asked for once."""
    response = await client.get("/products/p1")
    assert response.status_code == 200
    assert response.json() == {"name": "Über", "ratings": [4, 5], "related": ["two", "three"], "best": 5}
    assert services.count("catalog") == 2
    assert services.count("reviews") == 2
    timing = response.headers["server-timing"]
    assert [entry.partition(";")[0] for entry in timing.split(", ")] == [
        "product",
        "reviews",
        "related_ids",
        "related",
        "best",
        "total",
    ]


async def test_optional_failure_degrades(client: httpx.AsyncClient, services: FakeServices) -> None:
    """A failed optional section, and what depends on it, show their fallbacks and are named."""
    services["reviews"].get("/products/p1/reviews").respond(500)
    response = await client.get("/products/p1")
    assert response.status_code == 200
    assert response.json() == {
        "name": "Über",
        "ratings": [],
        "related": ["two", "three"],
        "best": None,
        "_degraded": ["reviews", "best"],
    }
    assert "reviews;dur=" in response.headers["server-timing"]
    assert ';desc="degraded"' in response.headers["server-timing"]
    assert response.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"status_code": 404}, 404),
        ({"status_code": 400}, 502),
        ({"status_code": 409}, 502),
        ({"status_code": 500}, 502),
        ({"status_code": 503}, 503),
        ({"status_code": 504}, 504),
        ({"status_code": 301, "headers": {"location": "http://elsewhere/"}}, 502),
        ({"text": "not json"}, 502),
        ({"json": {"id": 1}}, 502),
        ({"json": None}, 502),
    ],
)
async def test_required_failure(
    client: httpx.AsyncClient, services: FakeServices, answer: dict[str, Any], status: int
) -> None:
    """A failed required section is the page's problem, without a word about what is behind."""
    services["catalog"].get("/products/p1").respond(**answer)
    response = await client.get("/products/p1")
    assert response.status_code == status
    assert "catalog" not in response.text
    problem(response)


@pytest.mark.parametrize(
    ("error", "status"),
    [(httpx.ConnectError, 503), (httpx.ReadTimeout, 504), (httpx.ReadError, 502), (ValueError, 502)],
)
async def test_transport_failure(
    client: httpx.AsyncClient, services: FakeServices, error: type[Exception], status: int
) -> None:
    """No answer at all is told from a bad one."""
    services["catalog"].get("/products/p1").mock(side_effect=error)
    response = await client.get("/products/p1")
    assert response.status_code == status
    problem(response)


async def test_deadline(services: FakeServices) -> None:
    """A service that does not answer costs the page its deadline and no more; the other calls are let go."""
    blocked = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        await blocked.wait()
        return httpx.Response(200)

    services["catalog"].get("/products/p1").mock(side_effect=never)
    settings = Settings(services=services.settings, log_level="CRITICAL", deadline=0.05)
    app = create_bff("test", settings=settings, clients=[Catalog, Reviews], transport=services.transport)
    app.page("/products/{product_id}", ProductPage, public=True)
    async with bff_client(app) as client:
        assert problem(await client.get("/products/p1"))["status"] == 504
        blocked.set()


async def test_selection(client: httpx.AsyncClient, services: FakeServices) -> None:
    """What is not asked for is not fetched."""
    response = await client.get("/products/p1", params={"fields": "name"})
    assert response.json() == {"name": "Über"}
    assert services.count("reviews") == 0
    response = await client.get("/products/p1?fields=best")
    assert response.json() == {"best": 5}
    assert services.count("reviews") == 1
    response = await client.get("/products/p1?include=related")
    assert response.json() == {"name": "Über", "ratings": [], "related": ["two", "three"], "best": None}
    response = await client.get("/products/p1?include=")
    assert response.json()["related"] == []


@pytest.mark.parametrize("query", ["include=nope", "include=product", "fields=nope", "fields=_degraded"])
async def test_unknown_selection(client: httpx.AsyncClient, query: str) -> None:
    """The answer to an unknown name lists the known ones."""
    document = problem(await client.get(f"/products/p1?{query}"))
    assert document["status"] == 400
    assert document["unknown"] == [query.partition("=")[2]]
    assert document["available"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("q=", 422),
        ("q=" + "x" * 21, 422),
        ("q=a&limit=x", 422),
        ("q=a&limit=11", 422),
        ("q=%ff", 400),
        ("q=a" + "&b=1" * 200, 400),
        ("q=a&" + "y" * 9000, 414),
    ],
)
async def test_bad_query(client: httpx.AsyncClient, query: str, status: int) -> None:
    """Bad parameters are a problem document that names them."""
    document = problem(await client.get(f"/search?{query}"))
    assert document["status"] == status
    if status == 422:
        assert document["errors"][0]["in"] == "query"
        assert document["errors"][0]["name"] in ("q", "limit")


async def test_query_reaches_the_service_escaped(client: httpx.AsyncClient, services: FakeServices) -> None:
    """User input stays one value, whatever it holds."""
    services["catalog"].get("/search").respond(json=[])
    text = "a&limit=1/../ü #?"
    response = await client.get("/search", params={"q": text, "limit": 3, "tag": ["x", "y&z"]})
    assert response.status_code == 200
    sent = services.requests[-1].url
    assert sent.path == "/search"
    assert sent.params.multi_items() == [("q", text), ("limit", "3"), ("tag", "x"), ("tag", "y&z")]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/products/%2e%2e", 400), ("/products/.", 404), ("/nowhere", 404), ("/products/a%2Fb", 400)],
)
async def test_paths_that_lead_nowhere(
    client: httpx.AsyncClient, services: FakeServices, path: str, status: int
) -> None:
    """No path leads out of where it belongs."""
    response = await client.get(path)
    assert problem(response)["status"] == status
    assert not services.unexpected


async def test_wrong_method(client: httpx.AsyncClient) -> None:
    """405 says what is allowed."""
    response = await client.delete("/products/p1")
    assert problem(response)["status"] == 405
    assert response.headers["allow"] == "GET, HEAD"


async def test_private_page(client: httpx.AsyncClient) -> None:
    """Without a key there is no page, with one it is the key's owner's."""
    for headers in ({}, {"X-API-Key": "nope"}, {"X-API-Key": ""}, {"X-API-Key": "k" * 5000}):
        response = await client.get("/mine", headers=headers)
        assert problem(response)["status"] == 401
        assert response.headers["www-authenticate"].startswith("ApiKey")
    response = await client.get("/mine", headers={"X-API-Key": "key"})
    assert response.json() == {"products": [{"id": "acme", "name": "A"}]}
    assert response.headers["cache-control"] == "private, no-store"


async def test_body(client: httpx.AsyncClient, services: FakeServices) -> None:
    """A body is validated, passed on, and its problems point at the place."""
    route = services["catalog"].post("/carts/acme/items").respond(201, json={"product_id": "p1", "quantity": 2})
    headers = {"X-API-Key": "key", "X-Trace": "t1"}
    response = await client.post("/items", json={"product_id": "p1", "quantity": 2}, headers=headers)
    assert response.status_code == 201
    assert response.json() == {"added": {"product_id": "p1", "quantity": 2}}
    sent = route.calls.last.request
    assert sent.headers["x-trace"] == "t1"
    assert sent.headers["content-type"] == "application/json"
    document = problem(await client.post("/items", json={"quantity": "x"}, headers=headers))
    assert [entry["pointer"] for entry in document["errors"]] == ["/product_id", "/quantity"]
    for content, kind, status in ((b"{", "application/json", 422), (b"{}", "text/plain", 415), (b"", "", 415)):
        answer = await client.post("/items", content=content, headers={**headers, "content-type": kind})
        assert problem(answer)["status"] == status
    huge = await client.post(
        "/items", content=b"[" * 2_000_000, headers={**headers, "content-type": "application/json"}
    )
    assert problem(huge)["status"] == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"[" * 100_000

    unsized = await client.post("/items", content=chunks(), headers={**headers, "content-type": "application/json"})
    assert problem(unsized)["status"] == 413


async def test_relayed_status(client: httpx.AsyncClient, services: FakeServices) -> None:
    """A declared status goes to the client with the service's title and detail, and nothing else of it."""
    services["catalog"].post("/carts/acme/items").respond(
        409, json={"title": "Sold out", "detail": "None left.", "status": 409, "host": "internal-7"}
    )
    response = await client.post("/items", json={"product_id": "p1"}, headers={"X-API-Key": "key"})
    document = problem(response)
    assert (document["status"], document["title"], document["detail"]) == (409, "Sold out", "None left.")
    assert "internal-7" not in response.text


async def test_post_is_not_retried(client: httpx.AsyncClient, services: FakeServices) -> None:
    """What is not idempotent is sent once."""
    route = services["catalog"].post("/carts/acme/items").respond(503)
    response = await client.post("/items", json={"product_id": "p1"}, headers={"X-API-Key": "key"})
    assert response.status_code == 503
    assert route.call_count == 1


async def test_get_is_retried_once(client: httpx.AsyncClient, services: FakeServices) -> None:
    """A passing failure costs an attempt, not the page."""
    route = services["catalog"].get("/products/p1")
    route.side_effect = [httpx.Response(503), httpx.Response(200, json={"id": "p1", "name": "again"})]
    assert (await client.get("/products/p1")).json()["name"] == "again"
    assert route.call_count == 2


async def test_authors_errors(client: httpx.AsyncClient, services: FakeServices) -> None:
    """An author's function that raises degrades its own section, and its words stay inside."""
    services["catalog"].get("/products/slow").respond(500)
    response = await client.get("/broken/p1")
    assert response.status_code == 200
    body = response.json()
    assert body["odd"] == 7
    assert sorted(body["_degraded"]) == ["odd", "slow", "told"]
    assert "secret" not in response.text


async def test_batches_are_chunked_in_order(services: FakeServices) -> None:
    """More ids than the limit are asked for in several requests; the order is the asked one."""

    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params.get_list("ids")
        assert len(ids) <= 3
        return httpx.Response(200, json={"items": [{"id": key, "name": key} for key in ids]})

    services["catalog"].get("/products").mock(side_effect=answer)

    class Many(Page):
        n: int
        cards = required(Catalog.products, ids=lambda n: [f"p{i}" for i in range(n)])

    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("test", settings=settings, clients=[Catalog], transport=services.transport)
    app.page("/many", Many, public=True)
    async with bff_client(app) as client:
        for n, requests in ((0, 0), (1, 1), (3, 1), (8, 3)):
            before = services.count("catalog")
            cards = (await client.get(f"/many?n={n}")).json()["cards"]
            assert [card["id"] for card in cards] == [f"p{i}" for i in range(n)]
            assert services.count("catalog") - before == requests


async def test_trace_goes_on(client: httpx.AsyncClient, services: FakeServices) -> None:
    """Request id and W3C trace context reach the services; malformed ones are replaced, not passed on."""
    services["catalog"].get("/search").respond(json=[])
    trace = "0af7651916cd43dd8448eb211c80319c"
    response = await client.get(
        "/search?q=a",
        headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "req-1", "tracestate": "a=b"},
    )
    sent = services.requests[-1].headers
    assert response.headers["x-request-id"] == "req-1" == sent["x-request-id"]
    assert sent["traceparent"].startswith(f"00-{trace}-")
    assert sent["traceparent"].endswith("-01")
    assert "b7ad6b7169203331" not in sent["traceparent"]
    assert sent["tracestate"] == "a=b"
    for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "nonsense", f"00-{trace}-b7ad6b7169203331-01-more"):
        await client.get("/search?q=a", headers={"traceparent": bad, "x-request-id": 'x" bad'})
        sent = services.requests[-1].headers
        assert bad not in sent["traceparent"]
        assert '"' not in sent["x-request-id"]
    assert "x-api-key" not in sent


class Numbers(BaseModel):
    numbers: list[int]


class NumbersPage(Page):
    body: Numbers
    some: Annotated[list[int], Query()] = []  # noqa: RUF012 - a parameter's default

    @section
    async def numbers(self, body: Numbers, some: list[int]) -> Numbers:
        return Numbers(numbers=body.numbers + some)


async def test_not_every_complaint_is_told(app: Bff) -> None:
    """One small body can be wrong in ten thousand places."""
    app.page("/numbers", NumbersPage, method="POST", public=True)

    @app.post("/plain-numbers")
    async def plain(body: Numbers) -> Numbers:
        return body

    async with bff_client(app) as client:
        for path in ("/numbers", "/plain-numbers", "/numbers?" + "some=x&" * 90):
            answer = await client.post(path, json={"numbers": ["x"] * 100}, headers={"X-API-Key": "key"})
            assert len(problem(answer)["errors"]) == 20


async def test_plain_routes_are_private_too(app: Bff) -> None:
    """A FastAPI route of a gateway with authentication needs the principal as well, and its errors are problems."""

    @app.get("/plain")
    async def plain(n: int) -> dict[str, int]:
        return {"n": 10 // n}

    async with bff_client(app) as client:
        assert problem(await client.get("/plain?n=1"))["status"] == 401
        headers = {"X-API-Key": "key"}
        assert (await client.get("/plain?n=2", headers=headers)).json() == {"n": 5}
        assert problem(await client.get("/plain?n=x", headers=headers))["errors"][0]["name"] == "n"
        crash = await client.get("/plain?n=0", headers=headers)
        assert problem(crash)["status"] == 500
        assert "Zero" not in crash.text


async def test_health(client: httpx.AsyncClient, app: Bff) -> None:
    """Live and ready while it runs, not ready outside."""
    assert (await client.get("/health/live")).status_code == 200
    assert (await client.get("/health/ready")).json() == {"status": "ok"}
    app.ready = False
    assert problem(await client.get("/health/ready"))["status"] == 503


async def test_openapi(app: Bff) -> None:
    """The document has the exact model, the parameters and the problems of each page."""
    document = app.openapi()
    operation = document["paths"]["/products/{product_id}"]["get"]
    assert {p["name"] for p in operation["parameters"]} == {"product_id", "include", "fields"}
    schema = document["components"]["schemas"]["ShownPage"]
    assert set(schema["properties"]) == {"name", "ratings", "related", "best", "_degraded"}
    assert "application/problem+json" in operation["responses"]["503"]["content"]
    assert "401" not in operation["responses"]
    assert "401" in document["paths"]["/mine"]["get"]["responses"]
    assert document["paths"]["/items"]["post"]["requestBody"]
    assert document["paths"]["/mine"]["get"]["security"] == [{"gateway": []}]
    assert "security" not in operation
    assert document["components"]["securitySchemes"]["gateway"]["type"] == "apiKey"


def test_wrong_routes(app: Bff, services: FakeServices) -> None:
    """A page and a route that do not fit are refused."""
    with pytest.raises(DeclarationError, match="'product_id' is needed, but the route's path does not give it"):
        app.page("/p", ProductPage, public=True)
    with pytest.raises(DeclarationError, match="the path gives 'other', which no section takes"):
        app.page("/p/{product_id}/{other}", ProductPage, public=True)
    with pytest.raises(DeclarationError, match="uses the principal, so its route cannot be public"):
        app.page("/m", Mine, public=True)
    with pytest.raises(DeclarationError, match="a GET page has no body"):
        app.page("/i", Add)
    open_app = create_bff(
        "open", settings=Settings(services=services.settings), clients=[Catalog], transport=services.transport
    )
    with pytest.raises(DeclarationError, match="has no authentication"):
        open_app.page("/mine", Mine)
    with pytest.raises(DeclarationError, match="calls Reviews, which gateway 'open' does not have"):
        open_app.page("/p/{product_id}", ProductPage, public=True)
    assert Principal("a") == Principal("a")


async def test_deadline_goes_on(client: httpx.AsyncClient, services: FakeServices) -> None:
    """Services are told how long the attempt may take; a client in a hurry is heard, one with more time is not."""
    services["catalog"].get("/search").respond(json=[])
    await client.get("/search?q=a")
    unhurried = services.requests[-1].headers["grpc-timeout"]
    await client.get("/search?q=a", headers={"grpc-timeout": "90S"})
    patient = services.requests[-1].headers["grpc-timeout"]
    for header in (unhurried, patient):
        assert header.endswith("m")
        assert 0 < int(header[:-1]) <= 1000
    services["catalog"].get("/search").respond(503, headers={"retry-after": "1"})
    response = await client.get("/search?q=a", headers={"grpc-timeout": "100m"})
    assert response.status_code == 503
    assert 0 < int(services.requests[-1].headers["grpc-timeout"][:-1]) <= 100
    expired = await client.get("/search?q=a", headers={"grpc-timeout": "0n"})
    assert expired.status_code == 504


async def test_a_look_up_fails_with_its_own_chunks_alone(services: FakeServices) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params.get_list("ids")
        if "bad" in ids:
            return httpx.Response(422)
        return httpx.Response(200, json={"items": [{"id": key, "name": key} for key in ids if key != "unknown"]})

    services["catalog"].get("/products").mock(side_effect=answer)

    class Several(Page):
        whole = optional(Catalog.products, ids=["a", "b"])
        partly = optional(Catalog.products, ids=["b", "unknown", "bad"])
        broken = optional(Catalog.products, ids=["c"])

    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("test", settings=settings, clients=[Catalog], transport=services.transport)
    app.page("/several", Several, public=True)
    missing = []
    app.events.subscribe(lambda event: missing.append(event.detail) if event.name == "OnMissing" else None)
    async with bff_client(app) as client:
        before = services.count("catalog")
        answered = (await client.get("/several")).json()
    assert services.count("catalog") - before == 2, "a, b and unknown; bad and c"
    assert answered.pop("_degraded") == ["partly", "broken"]
    assert answered == {"whole": [{"id": key, "name": key} for key in "ab"], "partly": None, "broken": None}
    assert missing == ["unknown"]


class Greeted(BaseModel):
    names: list[str]
    notes: list[Review]


class GreetingPage(Page):
    name: str
    names: Annotated[list[str], Query()] = ["all"]  # noqa: RUF012 - as an author may write it
    product = required(Catalog.product)
    notes = optional(Reviews.of_product, fallback=[])

    @shape
    def greeted(self, name: str, names: list[str], product: Product, notes: list[Review]) -> Greeted:
        released.set()
        names.append(name)
        notes.append(Review(rating=len(name)))
        return Greeted(names=names, notes=notes)


released = asyncio.Event()


async def test_what_a_shape_changes_is_its_own_requests(app: Bff, services: FakeServices) -> None:
    """A parameter's default, and the fallback that stands in a stream for what has not come yet."""

    async def after_the_first_message(_: httpx.Request) -> httpx.Response:
        await released.wait()
        return httpx.Response(404)

    services["reviews"].get("/products/p1/reviews").mock(side_effect=after_the_first_message)
    app.page("/greeted/{product_id}", GreetingPage, public=True, stream=True)
    async with bff_client(app) as client:
        for name in ("ann", "robin"):
            released.clear()
            answer = await client.get(f"/greeted/p1?name={name}", headers={"accept": "application/x-ndjson"})
            first = json.loads(answer.text.splitlines()[0])["data"]
            assert first == {"names": ["all", name], "notes": [{"rating": len(name)}]}
        whole = (await client.get("/greeted/p1?name=x")).json()
    assert whole == {"names": ["all", "x"], "notes": [{"rating": 1}], "_degraded": ["notes"]}
