"""Limits in the way of requests: who is counted with whom, what clients are told, and what a refusal costs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import http_sf
import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from bff_core import (
    ApiKey,
    ApiKeys,
    Bff,
    ConcurrencyLimit,
    DeclarationError,
    Event,
    Page,
    Principal,
    Problem,
    Quota,
    RateLimit,
    ServiceClient,
    Settings,
    create_bff,
    current_context,
    get,
    required,
    section,
)
from bff_core.limits import Limiter, limiter
from bff_core.limits.fallback import LimitStore
from bff_core.limits.guard import Stage
from bff_core.telemetry import Events
from bff_core.testing import FakeServices, bff_client

TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"


class Named(Page):
    name: str

    @section
    def hello(self, name: str) -> str:
        return name


class Ok(BaseModel):
    ok: bool


class Things(ServiceClient, service="things"):
    @get("/x")
    async def x(self) -> Ok: ...


class Kept(Page):
    thing = required(Things.x)


class Users:
    """Authenticates by ``Authorization: <user>[ <tenant>[ <plan>]]``, and counts how often it was asked."""

    challenge = "Test"

    def __init__(self) -> None:
        self.scheme = {"type": "http", "scheme": "test"}
        self.asked = 0

    async def authenticate(self, scope: Any) -> Principal | None:
        self.asked += 1
        given = dict(scope["headers"]).get(b"authorization", b"").decode().split()
        if not given:
            return None
        tenant = given[1] if len(given) > 1 and given[1] != "-" else None
        return Principal(given[0], tenant=tenant, claims={"plan": given[2]} if len(given) > 2 else {})

    async def aclose(self) -> None:
        """Nothing is held."""


def gateway(limits: Sequence[Any] = (), page_limits: Sequence[Any] = (), **settings: Any) -> Bff:
    app = create_bff("t", settings=Settings(log_level="CRITICAL", **settings), clients=[], auth=Users(), limits=limits)
    app.page("/hello", Hello, limits=page_limits)
    app.page("/public/{name}", Named, public=True, limits=page_limits)

    @app.get("/plain/{name}")
    async def plain(name: str) -> str:
        return name

    return app


async def ask(client: httpx.AsyncClient, path: str = "/hello", user: str = "alice", **headers: str) -> httpx.Response:
    return await client.get(path, headers={"authorization": user, **headers})


async def statuses(client: httpx.AsyncClient, *users: str, path: str = "/hello", **headers: str) -> list[int]:
    return [(await ask(client, path, user, **headers)).status_code for user in users]


def fields(response: httpx.Response) -> tuple[dict[str, Any], dict[str, Any]]:
    """``RateLimit-Policy`` and ``RateLimit``, as an independent reader of structured fields (RFC 9651) has them."""
    policy: Any = http_sf.parse(response.headers["ratelimit-policy"].encode(), tltype="list")
    limit: Any = http_sf.parse(response.headers["ratelimit"].encode(), tltype="list")
    return dict(policy), dict(limit)


# -- what clients are told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/hello", "/plain/x"])
async def test_answers(path: str) -> None:
    """Every answer says what there is and what is left; a refusal when to come again."""
    limits = [
        RateLimit("burst", "100/minute", burst=2, key="principal"),
        Quota("month", 9, per="month", key="principal"),
    ]
    async with bff_client(gateway(limits)) as client:
        for left in (1, 0):
            policy, limit = fields(await ask(client, path))
            assert policy == {"burst": {"q": 100, "w": 60}, "month": {"q": 9, "w": 2592000}}
            assert limit["burst"]["r"] == left
            assert 1 <= limit["burst"]["t"] <= 2
        refused = await ask(client, path)
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["cache-control"] == "no-store"
        problem = refused.json()
        assert problem["type"] == TYPE
        assert problem["violated-policies"] == ["burst"]
        assert problem["instance"] == f"urn:request:{refused.headers['x-request-id']}"
        _, limit = fields(refused)
        assert limit["burst"]["r"] == 0
        assert int(refused.headers["retry-after"]) >= limit["burst"]["t"] >= 1
        assert (await ask(client, path, "bob")).status_code == 200


async def test_several_lines_are_one_list() -> None:
    """What was decided before and after authentication is told in two lines, which is one list."""
    limits = [Quota("user", 9, per="day", key="principal"), Quota("ip", 5, per="day", key="client_ip")]
    async with bff_client(gateway(limits)) as client:
        policy, limit = fields(await ask(client))
        assert set(policy) == {"ip", "user"}
        assert {name: values["r"] for name, values in limit.items()} == {"ip": 4, "user": 8}


async def test_openapi_has_the_429() -> None:
    """Where there are limits, and only there."""
    for limits, expected in ([], False), ([RateLimit("r", "1/day", key=())], True):
        document = gateway(limits).openapi()["paths"]
        assert ("429" in document["/hello"]["get"]["responses"]) is expected


async def test_without_limits_there_is_nothing() -> None:
    """No headers, no store, no branch but one."""
    app = gateway()
    async with bff_client(app) as client:
        response = await ask(client)
        assert "ratelimit" not in response.headers
        assert app.limiter.store is None


# -- whose calls are counted together ---------------------------------------------------------------------------------


async def test_keys() -> None:
    """Principals, tenants, routes and combinations, each with a count of its own."""
    limits = [
        Quota("tenant", 3, per="day", key="tenant"),
        Quota("user-route", 2, per="day", key=("principal", "route")),
    ]
    async with bff_client(gateway(limits)) as client:
        assert await statuses(client, "a one", "a one", "a one") == [200, 200, 429]
        assert await statuses(client, "a one", "a one", path="/plain/1") == [200, 429]
        assert (await ask(client, "/plain/2", "b one")).json()["violated-policies"] == ["tenant"]
        assert await statuses(client, "a two", "b", "c") == [429, 200, 200]
        assert await statuses(client, *["d"] * 3, path="/plain/3") == [200, 200, 429]
        assert await statuses(client, "d", "d") == [200, 429]  # without a tenant everybody is his own


async def test_a_route_is_its_template() -> None:
    """Other ids are the same route."""
    app = gateway([Quota("route", 2, per="day", key="route")])
    async with bff_client(app) as client:
        assert [(await client.get(f"/public/{number}")).status_code for number in range(3)] == [200, 200, 429]
        assert await statuses(client, *"abc", path="/plain/x") == [200, 200, 429]


async def test_the_route_of_an_included_router_has_its_prefix() -> None:
    """What is included twice is two routes."""
    app = gateway([Quota("route", 1, per="day", key="route")])
    router = APIRouter(prefix="/v1")

    @router.get("/x/{name}")
    async def x(name: str) -> str:
        return name

    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")
    async with bff_client(app) as client:
        assert await statuses(client, "u", "u", path="/a/v1/x/1") == [200, 429]
        assert await statuses(client, "u", "u", path="/b/v1/x/1") == [200, 429]


async def test_a_key_function() -> None:
    """Any text of the request counts; None is not counted; anything else is the author's mistake."""
    limit = Quota("device", 1, per="day", key=("principal", lambda request: request.headers.get("x-device")))
    app = gateway([limit])
    async with bff_client(app) as client:
        assert (await ask(client, **{"x-device": "1"})).status_code == 200
        assert await statuses(client, "alice", **{"x-device": "2"}) == [200]
        assert await statuses(client, "alice", **{"x-device": "2"}) == [429]
        assert await statuses(client, "alice", "alice") == [200, 200]
        assert await statuses(client, "a", "a", **{"x-device": "x" * 5000}) == [200, 429]
        assert app.limiter.store is not None
        assert all(len(part) < 100 for key in app.limiter.store.memory._states for part in key)
    wrong: Any = Quota("n", 1, per="day", key=lambda _: 1)  # type: ignore[arg-type, return-value]
    async with bff_client(gateway([wrong])) as client:
        assert (await ask(client)).status_code == 500


async def test_a_key_function_has_the_path_parameters() -> None:
    """Of pages as of plain routes."""
    app = gateway([Quota("name", 1, per="day", key=lambda request: request.path_params.get("name"))])
    async with bff_client(app) as client:
        assert [(await ask(client, f"/public/{name}")).status_code for name in "aab"] == [200, 429, 200]
        assert [(await ask(client, f"/plain/{name}")).status_code for name in "bc"] == [429, 200]


async def test_a_kept_page_counts() -> None:
    """An answer that need not be made again is an answer all the same."""
    services = FakeServices("things")
    services["things"].get("/x").respond(json={"ok": True}, headers={"cache-control": "max-age=60"})
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", settings=settings, clients=[Things], transport=services.transport)
    app.page("/x", Kept, public=True, cache=True, limits=[Quota("q", 2, per="day", key="client_ip")])
    async with bff_client(app) as client:
        assert [(await client.get("/x")).status_code for _ in range(3)] == [200, 200, 429]
    assert services.count("things") == 1


async def test_api_keys_and_their_plans() -> None:
    """Two keys of one partner count for themselves; the plan stands with the key."""
    keys = [
        ApiKey(sha256="2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", partner="acme"),  # of "key"
        ApiKey(
            sha256=hashlib.sha256(b"other").hexdigest(),
            partner="acme",
            plan="gold",
        ),
    ]
    app = create_bff("t", settings=Settings(log_level="CRITICAL"), clients=[], auth=ApiKeys(keys))
    app.page("/hello", Hello, limits=[Quota("q", 1, per="day", key="api_key", plans={"gold": 2})])
    async with bff_client(app) as client:
        for key, expected in ("key", [200, 429]), ("other", [200, 200, 429]):
            got = [(await client.get("/hello", headers={"x-api-key": key})).status_code for _ in expected]
            assert got == expected


async def test_plans() -> None:
    """A plan has other values, or none; an unknown one has the default; a change counts at once."""
    limit = RateLimit("r", "1/day", key="principal", plans={"gold": "2/day", "burst": ("1/day", 3), "staff": None})
    async with bff_client(gateway([limit])) as client:
        assert await statuses(client, "a - gold", "a - gold", "a - gold") == [200, 200, 429]
        assert await statuses(client, *["b - burst"] * 4) == [200, 200, 200, 429]
        assert await statuses(client, *["c - staff"] * 5) == [200] * 5
        assert await statuses(client, "d - unknown", "d") == [200, 429]
        policy, _ = fields(await ask(client, user="d - gold"))
        assert policy["r"]["q"] == 2
        staff = await ask(client, user="c - staff")
        assert "ratelimit" not in staff.headers


async def test_client_ip_through_proxies() -> None:
    """The address is the trusted proxy's word, an IPv6 one counts by its /64 unless all of it is asked for."""
    limits = [Quota("ip", 2, per="day", key="client_ip"), Quota("address", 1, per="day", key="client_address")]
    async with bff_client(gateway(limits, trusted_proxies=["127.0.0.1"])) as client:
        path = "/public/x"
        for address, expected in (
            ("6.6.6.6, 203.0.113.1", [200, 429]),
            ("7.7.7.7, 203.0.113.1", [429]),
            ("2001:db8::1", [200]),
            ("2001:db8::2", [200]),
            ("2001:db8::3", [429]),
            ("2001:db8:0:1::3", [200]),
        ):
            assert await statuses(client, *["a"] * len(expected), path=path, **{"x-forwarded-for": address}) == expected
        seen = await ask(client, path, **{"x-forwarded-for": "2001:db8::3"})
        assert seen.json()["violated-policies"] == ["ip"]
    async with bff_client(gateway(limits)) as client:
        assert await statuses(client, "a", path=path, **{"x-forwarded-for": "203.0.113.1"}) == [200]
        assert await statuses(client, "a", path=path, **{"x-forwarded-for": "203.0.113.2"}) == [429]


async def test_client_ip_of_the_context() -> None:
    """It is there for whoever wants it, and found only when somebody does."""
    app = gateway(trusted_proxies=["127.0.0.0/8"])

    @app.get("/who")
    async def who() -> str | None:
        return current_context().client_ip

    async with bff_client(app) as client:
        answer = await ask(client, "/who", forwarded="for=203.0.113.1;proto=https")
        assert answer.json() == "203.0.113.1"


# -- where they stand -------------------------------------------------------------------------------------------------


async def test_attempts_to_guess_are_counted() -> None:
    """A limit by address stands before authentication: wrong credentials use it up, and then nobody is asked."""
    app = gateway([Quota("ip", 3, per="day", key="client_ip")])
    async with bff_client(app) as client:
        for path in ("/hello", "/plain/x"):
            wrong = await client.get(path)
            assert wrong.status_code == 401
            assert "ratelimit" in wrong.headers
        assert await statuses(client, "alice") == [200]
        assert isinstance(app.auth, Users)
        asked = app.auth.asked
        assert await statuses(client, "alice") == [429]
        assert await statuses(client, "alice", path="/plain/x") == [429]
        assert app.auth.asked == asked


@pytest.mark.parametrize("path", ["/hello", "/plain/x"])
async def test_what_is_refused_after_authentication_costs_nothing_before_it(path: str) -> None:
    """The two decisions are one to the caller: what the second refuses, the first has not counted."""
    limits = [
        Quota("ip", 5, per="day", key="client_ip"),
        ConcurrencyLimit("open", 1, key="client_ip"),
        Quota("user", 1, per="day", key="principal"),
    ]
    async with bff_client(gateway(limits)) as client:
        assert await statuses(client, *["alice"] * 20, path=path) == [200] + [429] * 19
        assert await statuses(client, *"bcdef", path=path) == [200] * 4 + [429]


async def test_a_page_has_limits_of_its_own() -> None:
    """Beside the gateway's; one limit on two pages counts both; a principal's limit says nothing of a public page."""
    shared = Quota("search", 2, per="day", key="client_ip")
    app = create_bff("t", settings=Settings(log_level="CRITICAL"), clients=[], auth=Users(), limits=[
        Quota("all", 3, per="day", key="principal")
    ])  # fmt: skip
    app.page("/a", Hello, limits=[shared])
    app.page("/b", Hello, public=True, limits=[shared])
    app.page("/c", Hello)
    async with bff_client(app) as client:
        assert await statuses(client, "a", path="/a") == [200]
        assert await statuses(client, "a", path="/b") == [200]
        assert await statuses(client, "b", path="/a") == [429]
        assert await statuses(client, "a", "a", "a", path="/c") == [200, 200, 429]
        assert "ratelimit" not in (await client.get("/health/ready")).headers


async def test_a_stream_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much longer than the lease it goes on; and gives it up at its end."""
    monkeypatch.setattr(limiter, "MARGIN", -9.9)
    settings = Settings(log_level="CRITICAL", deadline=10.0)
    app = create_bff("t", settings=settings, clients=[], limits=[ConcurrencyLimit("c", 1, key="client_ip")])
    renewed: list[Any] = []

    def renew(self: LimitStore, *call: Any, local: bool) -> None:
        renewed.append(call)
        stay(self, *call, local=local)

    stay = LimitStore.renew
    monkeypatch.setattr(LimitStore, "renew", renew)
    go = asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        await go.wait()
        return "done"

    async with bff_client(app) as client:
        first = asyncio.create_task(client.get("/slow"))
        while len(renewed) < 4:  # each is due at half a lease
            await asyncio.sleep(0.01)
        assert (await client.get("/slow")).status_code == 429
        go.set()
        assert (await first).status_code == 200
        assert (await client.get("/slow")).status_code == 200
        known = len(renewed)
        await asyncio.sleep(0.12)
        assert len(renewed) == known


async def test_concurrency() -> None:
    """As many at once as there may be, whatever becomes of them; the place is free when the answer has been sent."""
    app = gateway([ConcurrencyLimit("c", 2, key="principal")])
    gates: list[asyncio.Event] = []

    @app.get("/slow/{how}")
    async def slow(how: str) -> StreamingResponse:
        gates.append(gate := asyncio.Event())
        if how == "breaks":
            await gate.wait()
            raise RuntimeError("broken")

        async def body() -> Any:
            await gate.wait()
            yield b"x"

        return StreamingResponse(body())

    async with bff_client(app) as client:
        running = [asyncio.ensure_future(ask(client, f"/slow/{how}")) for how in ("streams", "breaks")]
        while len(gates) < 2:
            await asyncio.sleep(0)
        refused = await ask(client)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert fields(refused) == ({"c": {"q": 2, "qu": "concurrent-requests"}}, {"c": {"r": 0}})
        assert await statuses(client, "bob") == [200]
        for gate in gates:
            gate.set()
        assert [(await answer).status_code for answer in running] == [200, 500]
        for _ in range(3):
            assert fields(await ask(client))[1] == {"c": {"r": 1}}
        dropped = asyncio.ensure_future(ask(client, "/slow/streams"))
        while len(gates) < 3:
            await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        assert fields(await ask(client))[1] == {"c": {"r": 1}}


async def test_events() -> None:
    """Every refusal is told, with the route and the limit."""
    app = gateway([Quota("q", 1, per="day", key="principal")])
    told: list[Event] = []
    app.events.subscribe(told.append)
    async with bff_client(app) as client:
        await statuses(client, "a", "a")
        await statuses(client, "a", path="/plain/x")
    rejected = [(event.name, event.pipeline, event.operation) for event in told]
    assert rejected == [("OnRateLimiterRejected", "/hello", "q"), ("OnRateLimiterRejected", "/plain/{name}", "q")]


def test_in_memory_nothing_is_awaited() -> None:
    """The decision is there when the call returns."""
    limiter = Limiter("t", "memory://", 1.0, Events())
    guard = limiter.guard([Quota("q", 1, per="day", key=lambda request: request.url.path)], private=False)
    assert guard is not None
    assert isinstance(guard.before, Stage)
    assert guard.after is None
    scope = {"type": "http", "path": "/", "headers": [], "query_string": b"", "server": ("t", 80), "scheme": "http"}
    context = type("Context", (), {"principal": None, "reply_headers": (), "at_end": (), "route": None})()
    assert guard.before.admit(scope, context) is None
    with pytest.raises(Problem) as refused:
        guard.before.admit(scope, context)
    assert refused.value.status == 429
    assert json.loads(refused.value.body())["violated-policies"] == ["q"]


# -- declarations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: RateLimit("r", "100", key=()), "'100' is no rate; one is '100/minute'"),
        (lambda: RateLimit("r", "0/minute", key=()), "no rate"),
        (lambda: RateLimit("r", "5/fortnight", key=()), "no rate"),
        (lambda: RateLimit("r", "5/minute", burst=0, key=()), "burst of 0"),
        (lambda: RateLimit("r", "1/week", burst=60, key=()), "burst of 60"),
        (lambda: RateLimit("r", "1/day", key=(), plans={"gold": "much"}), "'much' is no rate"),
        (lambda: RateLimit('r"', "1/day", key=()), "name is made of"),
        (lambda: RateLimit("r", "1/day", key="user"), "not of 'user'"),  # type: ignore[arg-type]
        (lambda: RateLimit("r", "1/day", key=(), on_store_failure="x"), "'allow' or 'deny'"),  # type: ignore[arg-type]
        (lambda: Quota("q", 0, per="day", key=()), "0 is no number of calls"),
        (lambda: Quota("q", 1, per="year", key=()), "not per 'year'"),  # type: ignore[arg-type]
        (lambda: Quota("q", 1, per="day", zone="Mars/Olympus", key=()), "no time zone 'Mars/Olympus'"),
        (lambda: Quota("q", 1, per="day", zone="../etc/passwd", key=()), "no time zone"),
        (lambda: ConcurrencyLimit("c", -1, key=()), "-1 is no number of calls"),
        (lambda: gateway([Quota("q", 1, per="day", key=())] * 2), "two limits 'q'"),
        (lambda: gateway([Quota("q", 1, per="day", key=())], [Quota("q", 2, per="day", key=())]), "two limits 'q'"),
    ],
)
def test_mistakes(declare: Any, message: str) -> None:
    """Told where they are made."""
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_the_request_a_key_function_gets() -> None:
    """It is Starlette's, so its annotation is checked as users write it."""

    def device(request: Request) -> str | None:
        return request.headers.get("x-device")

    assert RateLimit("r", "1/day", key=(device, "client_ip")).key == (device, "client_ip")


async def test_pass_through_routes() -> None:
    """They are under the gateway's limits and their own, before and after authentication."""
    services = FakeServices("things")
    services["things"].get("/x").respond(content=b"x")
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff(
        "t",
        settings=settings,
        clients=[],
        auth=Users(),
        transport=services.transport,
        limits=[Quota("ip", 4, per="day", key="client_ip")],
    )
    limits = [Quota("user", 1, per="day", key="principal"), ConcurrencyLimit("open", 1, key="principal")]
    app.proxy("/files/{name}", service="things", to="/{name}", limits=limits)
    async with bff_client(app) as client:
        first = await ask(client, "/files/x")
        assert first.status_code == 200
        assert set(fields(first)[0]) == {"ip", "user", "open"}
        assert (await ask(client, "/files/x")).json()["violated-policies"] == ["user"]
        assert (await client.get("/files/x")).status_code == 401
        assert await statuses(client, "b", "c", "d", path="/files/x") == [200, 200, 429]
    assert services.count("things") == 3


@pytest.mark.parametrize("path", ["/plain", "/included/plain"])
async def test_a_plain_route_reads_no_body_of_whom_it_does_not_let_in(path: str) -> None:
    """FastAPI reads a body before it asks a dependency: what is wrong with it is nobody's business before that."""
    limits = [Quota("address", 3, per="day", key="client_ip"), Quota("user", 1, per="day", key="principal")]
    app = create_bff("t", settings=Settings(log_level="CRITICAL"), clients=[], auth=Users(), limits=limits)
    router = APIRouter()

    async def plain(ok: Ok) -> Ok:
        return ok

    router.add_api_route("/plain", plain, methods=["POST"])
    app.add_api_route("/plain", plain, methods=["POST"])
    app.include_router(router, prefix="/included")
    async with bff_client(app) as client:

        async def post(content: bytes, kind: str = "application/json", **headers: str) -> int:
            response = await client.post(path, content=content, headers={"content-type": kind, **headers})
            assert response.headers["content-type"] in ("application/json", "application/problem+json")
            return response.status_code

        alice = {"authorization": "alice"}
        assert await post(b'{"ok": true}', **alice) == 200
        assert await post(b"{", **alice) == 429  # counts, and is refused, whatever is in it
        assert await post(b"x" * 2_000_000) == 401
        assert await post(b"", "") == 401
        assert await post(b"{") == 429
        assert await post(b"{", "text/plain") == 429


async def test_what_is_wrong_with_a_body_is_said_to_whom_it_concerns() -> None:
    """After the way in, a plain route's mistakes are told as before, and count once."""
    app = create_bff(
        "t",
        settings=Settings(log_level="CRITICAL"),
        clients=[],
        auth=Users(),
        limits=[Quota("user", 4, per="day", key=("principal", "route"))],
    )

    async def plain(ok: Ok) -> Ok:
        return ok

    app.add_api_route("/plain", plain, methods=["POST"])
    async with bff_client(app) as client:
        left = []
        for content, kind, status in (
            (b"{", "application/json", 422),
            (b"x" * 2_000_000, "application/json", 413),
            (b"{}", "", 415),
            (b'{"ok": true}', "application/json", 200),
            (b'{"ok": true}', "application/json", 429),
        ):
            headers = {"authorization": "alice", "content-type": kind}
            response = await client.post("/plain", content=content, headers=headers)
            assert response.status_code == status
            left.append(response.headers["ratelimit"].partition("r=")[2][0])
        assert left == ["3", "2", "1", "0", "0"]
