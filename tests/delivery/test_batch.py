"""``POST /batch``: several pages in one request, each as it would answer by itself."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, SecretStr

from bff_core import (
    AnyOf,
    ApiKey,
    ApiKeys,
    Authenticator,
    Authorizer,
    AuthorizerRequest,
    BearerJwt,
    Bff,
    ConcurrencyLimit,
    DeclarationError,
    ErrorsChanged,
    ForwardAuth,
    Page,
    Principal,
    RateLimit,
    ServiceClient,
    Settings,
    StoredKeys,
    StoredPlans,
    Version,
    Versions,
    create_bff,
    get,
    required,
    section,
)
from bff_core.context import current_context
from bff_core.testing import FakeServices, bff_client

pytestmark = pytest.mark.anyio
SECRET = "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"
AUTH = {"x-api-key": SECRET}


class Row(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/things", batch="ids")
    async def things(self, ids: list[str]) -> list[Row]: ...

    @get("/things/{thing_id}")
    async def thing(self, thing_id: str) -> Row: ...


class ThingPage(Page):
    thing = required(Things.thing)


class ManyPage(Page):
    ids: str
    things = required(Things.things, ids=lambda ids: ids.split("-"))


class OwnPage(Page):
    @section
    async def who(self, principal: Principal) -> str:
        return principal.subject

    @section
    async def deadline(self) -> float:
        return current_context().deadline


class BrokenPage(Page):
    @section
    async def value(self) -> str:
        raise ValueError("secret of the code")


class Counted(ApiKeys):
    """Counts how often it is asked. Its principals have a token, as those of access tokens do."""

    asked = 0

    async def authenticate(self, scope: Any) -> Principal | None:
        self.asked += 1
        principal = await super().authenticate(scope)
        return None if principal is None else replace(principal, token="t")


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("things")

    def rows(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=[{"id": key} for key in request.url.params.get_list("ids")])

    services["things"].get("/things").mock(side_effect=rows)
    services["things"].get("/things/a").respond(json={"id": "a"})
    services["things"].get("/things/gone").respond(404)
    return services


def gateway(services: FakeServices, **options: Any) -> Bff:
    auth = Counted([ApiKey(sha256=hashlib.sha256(SECRET.encode()).hexdigest(), partner="acme")])
    delivery = options.pop("delivery", {})
    things = {"url": "http://things.test", "auth": "relay" if options.pop("relay", False) else "none"}
    app = create_bff(
        "t",
        clients=[Things],
        settings=Settings(services={"things": things}, delivery=delivery),
        auth=auth,
        transport=services.transport,
        **options,
    )
    app.page("/things/{thing_id}", ThingPage, public=True, cache_control="public, max-age=5")
    app.page("/many", ManyPage, public=True)
    app.page("/own", OwnPage)
    app.page("/scoped", OwnPage, scopes=["admin"])
    app.page("/broken", BrokenPage, public=True)
    app.batch("/batch", max_items=5)
    return app


async def ask(client: httpx.AsyncClient, *paths: str | dict[str, str], **options: Any) -> httpx.Response:
    items = [path if isinstance(path, dict) else {"path": path} for path in paths]
    return await client.post("/batch", json={"items": items}, **options)


async def test_each_item_is_answered_as_it_would_be_by_itself(services: FakeServices) -> None:
    async with bff_client(gateway(services)) as client:
        alone = await client.get("/things/a")
        answer = await ask(client, "/things/a", "/things/gone", "/nope", "/broken", "/things/a?fields=nope")
        items = answer.json()["items"]
        known = (await ask(client, {"path": "/things/a", "etag": alone.headers["etag"]})).json()["items"]
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-store"
    assert [item["status"] for item in items] == [200, 404, 404, 500, 400]
    assert items[0]["body"] == alone.json()
    assert items[0]["headers"] == {"etag": alone.headers["etag"], "cache-control": "public, max-age=5"}
    assert items[1]["body"]["title"] == "Not Found"
    assert items[1]["body"]["instance"].startswith("urn:request:")
    assert "secret" not in answer.text
    assert known == [{"status": 304, "headers": items[0]["headers"], "body": None}]


async def test_look_ups_of_all_items_are_one_call(services: FakeServices) -> None:
    async with bff_client(gateway(services)) as client:
        items = (await ask(client, "/many?ids=a-b", "/many?ids=b-c", "/many?ids=d")).json()["items"]
    assert [[row["id"] for row in item["body"]["things"]] for item in items] == [["a", "b"], ["b", "c"], ["d"]]
    assert services.count("things") == 1


async def test_all_items_are_one_principals_and_share_a_deadline(services: FakeServices) -> None:
    app = gateway(services)
    async with bff_client(app) as client:
        items = (await ask(client, "/own", "/own", "/scoped", "/things/a", headers=AUTH)).json()["items"]
        refused = await ask(client, "/things/a", "/own")
        wrong = await ask(client, "/own", headers={"x-api-key": "bff_wrong"})
        public = await ask(client, "/things/a", headers={"x-api-key": "bff_wrong"})
    assert [item["status"] for item in items] == [200, 200, 403, 200]
    assert items[0]["body"] == items[1]["body"]
    assert items[0]["body"]["who"] == "acme"
    assert items[0]["headers"]["cache-control"] == "private, no-store"
    assert refused.status_code == wrong.status_code == 401
    assert public.json()["items"][0]["status"] == 200
    assert isinstance(app.auth, Counted)
    assert app.auth.asked == 3


async def for_some(request: AuthorizerRequest) -> Principal | None:
    """Who may come in where, by path."""
    return Principal("intern") if request.path in ("/batch", "/own") else None


def asks(services: FakeServices, **options: Any) -> ForwardAuth:
    """An auth service that decides by path."""

    def check(request: httpx.Request) -> httpx.Response:
        allowed = request.headers.get("x-original-uri", "/own") in ("/batch", "/own")
        return httpx.Response(200 if allowed else 403, headers={"x-auth-subject": "intern"})

    services["auth"].get("/check").mock(side_effect=check)
    return ForwardAuth("http://auth.test/check", forward=["X-Api-Key"], transport=services.transport, **options)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["authorizer", "forward"])
async def test_who_decides_by_path_is_asked_about_each_item(kind: str, wrapped: bool, tmp_path: Path) -> None:
    services = FakeServices("auth")
    by_path = Authorizer(for_some, identity=["x-api-key", ":method", ":path"])
    auth: Authenticator = by_path if kind == "authorizer" else asks(services)
    if wrapped:
        keys = StoredKeys(f"sqlite:///{tmp_path}/keys.db", pepper=SecretStr("p" * 32))
        auth = AnyOf(BearerJwt(issuer="i", audience="a", jwks_url="http://i.test/"), StoredPlans(auth, keys))
    app = create_bff("t", clients=[], auth=auth, transport=services.transport, settings=Settings())
    app.page("/own", OwnPage)
    app.page("/admin", OwnPage)
    app.batch("/batch")
    async with bff_client(app, headers=AUTH) as client:
        alone = [(await client.get(path)).status_code for path in ("/own", "/admin")]
        items = (await ask(client, "/own", "/admin", "/own")).json()["items"]
    assert alone == ([200, 401] if kind == "authorizer" else [200, 403])
    assert [item["status"] for item in items] == [*alone, 200]
    assert items[0]["body"]["who"] == "intern"


async def by_name_of_path(request: AuthorizerRequest) -> Principal | None:
    return Principal(request.path, token=request.path)


async def test_who_is_another_by_path_shares_no_look_ups(services: FakeServices) -> None:
    auth = Authorizer(by_name_of_path, identity=["x-api-key", ":path"])
    settings = Settings(services=services.settings)
    app = create_bff("t", clients=[Things], auth=auth, transport=services.transport, settings=settings)
    app.page("/one", ManyPage)
    app.page("/two", ManyPage)
    app.batch("/batch")
    async with bff_client(app, headers=AUTH) as client:
        items = (await ask(client, "/one?ids=a", "/two?ids=a", "/two?ids=b")).json()["items"]
    assert [item["status"] for item in items] == [200, 200, 200]
    assert services.count("things") == 2


async def test_who_does_not_is_asked_once() -> None:
    services = FakeServices("auth")
    app = create_bff(
        "t", clients=[], auth=asks(services, original=False), transport=services.transport, settings=Settings()
    )
    app.page("/own", OwnPage)
    app.batch("/batch")
    async with bff_client(app, headers=AUTH) as client:
        items = (await ask(client, "/own", "/own")).json()["items"]
    assert [item["status"] for item in items] == [200, 200]
    assert services.count("auth") == 1


class OldError(BaseModel):
    code: int
    kind: str


class KeptPage(Page):
    thing = required(Things.thing, thing_id="offer")


class OwnManyPage(ManyPage):
    pass


async def test_a_public_page_is_nobodys_beside_a_private_one(services: FakeServices) -> None:
    """What a service says to a principal alone is not kept for everybody, nor looked up for nobody."""

    def whose(request: httpx.Request) -> str:
        return "acme" if "authorization" in request.headers else "anybody"

    def offer(request: httpx.Request) -> httpx.Response:
        fresh = {"cache-control": "private, max-age=60" if whose(request) == "acme" else "max-age=60"}
        return httpx.Response(200, json={"id": whose(request)}, headers=fresh)

    asked = []

    def rows(request: httpx.Request) -> httpx.Response:
        keys = request.url.params.get_list("ids")
        asked.append((whose(request), keys))
        return httpx.Response(200, json=[{"id": key} for key in keys])

    services["things"].get("/things/offer").mock(side_effect=offer)
    services["things"].get("/things").mock(side_effect=rows)
    app = gateway(services, relay=True)
    app.page("/offer", KeptPage, public=True, cache=True)
    app.page("/own-many", OwnManyPage)
    async with bff_client(app) as client:
        batch = await ask(client, "/own", "/offer", "/own-many?ids=a", "/many?ids=b", headers=AUTH)
        alone = await client.get("/offer")
    assert [item["status"] for item in batch.json()["items"]] == [200] * 4
    assert batch.json()["items"][1]["body"] == alone.json() == {"thing": {"id": "anybody"}}
    assert sorted(asked) == [("acme", ["a"]), ("anybody", ["b"])]


@pytest.mark.parametrize(
    "path",
    ["/batch", "/health/live", "/openapi.json", "/things/../own", "/things/%2e%2e/own", "/things/a%2Fb", "//own"],
)
async def test_nothing_but_pages_by_a_path_of_one_reading(services: FakeServices, path: str) -> None:
    async with bff_client(gateway(services)) as client:
        (item,) = (await ask(client, path, headers=AUTH)).json()["items"]
    assert item["status"] in (400, 404)
    assert item["body"]["status"] == item["status"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"items": []},
        {"items": [{"path": "/things/a"}] * 6},
        {"items": [{"path": "things/a"}]},
        {"items": [{"path": "/things/a\r\nx"}]},
        {"items": [{"path": "/things/a", "method": "POST"}]},
        {"items": [{"path": "/things/a", "etag": "a\nb"}]},
        {"items": [{"path": "/" + "a" * 5000}]},
    ],
)
async def test_what_is_no_batch_is_refused(services: FakeServices, body: Any) -> None:
    async with bff_client(gateway(services)) as client:
        answer = await client.post("/batch", json=body)
    assert answer.status_code == 422
    assert services.count("things") == 0


async def test_an_item_counts_as_a_request(services: FakeServices) -> None:
    limit = RateLimit("all", "1/hour", burst=4, key="client_ip")
    app = gateway(services, limits=[limit])
    async with bff_client(app) as client:
        first = (await ask(client, "/things/a", "/things/a", "/things/a", "/things/a")).json()["items"]
        second = await ask(client, "/things/a")
    assert [item["status"] for item in first] == [200, 200, 200, 429]
    assert int(first[3]["headers"]["retry-after"]) > 0
    assert second.status_code == 429


async def test_a_proxy_is_no_page(services: FakeServices) -> None:
    """What goes through as a stream is not gathered in a batch."""
    app = gateway(services)
    app.proxy("/files/{name}", service="things", to="/{name}", public=True)
    async with bff_client(app) as client:
        items = (await ask(client, "/files/a")).json()["items"]
    assert items[0]["status"] == 404
    assert services.count("things") == 0


async def test_what_is_no_batch_counts_as_a_request(services: FakeServices) -> None:
    """Its body is not looked at when the limit is used up."""
    app = gateway(services, limits=[RateLimit("all", "1/hour", burst=2, key="client_ip")])
    json = {"content-type": "application/json"}
    async with bff_client(app) as client:
        answers = [await client.post("/batch", content=b"{", headers=json) for _ in range(3)]
        answers.append(await client.post("/batch", content=b"x" * 5_000_000, headers=json))
    assert [answer.status_code for answer in answers] == [422, 422, 429, 429]


async def test_an_item_that_is_refused_gives_nothing_of_the_batch_back(services: FakeServices) -> None:
    limits = [RateLimit("all", "1/hour", burst=3, key="client_ip"), RateLimit("who", "9/hour", key="principal")]
    async with bff_client(gateway(services, limits=limits)) as client:
        items = (await ask(client, *["/things/a"] * 5)).json()["items"]
        next_one = await client.get("/things/a")
    assert [item["status"] for item in items] == [200, 200, 429, 429, 429]
    assert next_one.status_code == 429


async def test_what_an_item_holds_is_given_back(services: FakeServices) -> None:
    app = gateway(services)
    app.page("/slow/{thing_id}", ThingPage, public=True, limits=[ConcurrencyLimit("one", 1, key="client_ip")])
    async with bff_client(app) as client:
        for _ in range(3):
            (item,) = (await ask(client, "/slow/a")).json()["items"]
            assert item["status"] == 200
        both = (await ask(client, "/slow/a", "/slow/a")).json()["items"]
    assert sorted(item["status"] for item in both) == [200, 429]
    page = next(page for page in app.pages if page.path == "/slow/{thing_id}")
    assert page.meter.in_flight == 0
    assert page.meter.statuses == {200: 4, 429: 1}


async def test_the_whole_is_compressed_and_its_items_are_not(services: FakeServices) -> None:
    app = gateway(services, delivery={"codings": ("gzip",), "minimum": 100})
    async with bff_client(app) as client:
        answer = await ask(client, *["/many?ids=" + "-".join("abcdefghijklmnop")] * 5)
    assert answer.headers["content-encoding"] == "gzip"
    assert {len(item["body"]["things"]) for item in answer.json()["items"]} == {16}


def test_a_batch_of_nothing_is_no_batch(services: FakeServices) -> None:
    with pytest.raises(DeclarationError, match="max_items=0"):
        gateway(services).batch("/other", max_items=0)


async def test_what_fails_looks_as_it_does_by_itself(services: FakeServices) -> None:
    """As the version of the API says that the client speaks, with the types that problems have here."""

    def older(document: dict[str, Any]) -> dict[str, Any]:
        return {"code": document["status"], "kind": document["type"]}

    versions = Versions(Version("2026-02-01", ErrorsChanged(older, OldError)), Version("2026-01-01"))
    app = gateway(services, versions=versions, problem_types="/problems/")
    async with bff_client(app) as client:
        for headers, members in (({}, {"type", "title"}), ({"api-version": "2026-01-01"}, {"code", "kind"})):
            for path in ("/things/gone", "/things/a?fields=nope", "/broken"):
                alone = (await client.get(path, headers=headers)).json()
                (item,) = (await ask(client, path, headers=headers)).json()["items"]
                for document in (alone, item["body"]):
                    document.pop("instance", None)
                assert item["body"] == alone
                assert members <= alone.keys()
                assert "/problems/" in str(alone)
