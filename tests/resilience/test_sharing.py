"""Single flight, batches and hedges, through pages: how often a service is asked, and who gets what."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    ApiKey,
    ApiKeys,
    Authorizer,
    AuthorizerRequest,
    Bff,
    Event,
    HedgePolicy,
    Page,
    Policy,
    Principal,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    optional,
    required,
    section,
)
from bff_core.testing import FakeServices, bff_client


class Row(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/things/{key}")
    async def thing(self, key: str) -> Row: ...

    @get("/things", batch="ids", batch_limit=4, at="items")
    async def things(self, ids: list[str], shade: str = "any") -> list[Row]: ...


class One(Page):
    thing = required(Things.thing)


class Mine(Page):
    thing = required(Things.thing, key=lambda principal: "same" if principal else "")


class Three(Page):
    first = optional(Things.things, ids=["a", "b"], fallback=[])
    second = optional(Things.things, ids=["c", "b", "none"], fallback=[])
    other = optional(Things.things, ids=["a"], shade="dark", fallback=[])

    @section(optional=True, fallback=[])
    async def third(self, things: Things) -> list[Row]:
        lists = await asyncio.gather(things.things(["a"]), things.things(["d"]))
        return [row for rows in lists for row in rows]


class Gate:
    """A service whose answers wait until they are let go, and that counts what it is asked."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.tokens: list[str] = []
        self.cancelled = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked[request.url.raw_path.decode()] += 1
        self.tokens.append(request.headers.get("authorization", ""))
        await self.open.wait()
        return httpx.Response(200, json={"id": request.url.path.rpartition("/")[2]})


def gateway(services: FakeServices, **policy: Any) -> Bff:
    things = ServiceSettings(**services.settings["things"], policy=Policy(**policy))
    settings = Settings(services={"things": things}, log_level="CRITICAL")
    keys = [ApiKey(sha256=digest, partner=name) for name, digest in DIGESTS.items()]
    app = create_bff("test", settings=settings, clients=[Things], auth=ApiKeys(keys), transport=services.transport)
    app.page("/things/{key}", One, public=True)
    app.page("/mine", Mine)
    app.page("/three", Three, public=True)
    return app


DIGESTS = {
    "one": "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
    "two": "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
}


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("things")


@pytest.fixture
async def gate(services: FakeServices) -> AsyncIterator[Gate]:
    gate = Gate()
    services["things"].get(path__regex="/things/.+").mock(side_effect=gate)
    yield gate
    gate.open.set()


async def until(condition: Any) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never happened")


async def test_identical_calls_share_one(services: FakeServices, gate: Gate) -> None:
    """Many pages, one request to the service, the same answer for all; afterwards a new one is made."""
    app = gateway(services)
    async with bff_client(app) as client:
        calls = [asyncio.create_task(client.get("/things/x")) for _ in range(20)]
        others = [asyncio.create_task(client.get("/things/y")) for _ in range(3)]
        await until(lambda: sum(gate.asked.values()) == 2)
        await asyncio.sleep(0)
        gate.open.set()
        answers = await asyncio.gather(*calls, *others)
        assert [answer.json()["thing"]["id"] for answer in answers] == ["x"] * 20 + ["y"] * 3
        assert gate.asked == {"/things/x": 1, "/things/y": 1}
        await client.get("/things/x")
        assert gate.asked["/things/x"] == 2


async def test_users_do_not_share(services: FakeServices, gate: Gate) -> None:
    """The same request made for two principals is two."""
    app = gateway(services)
    async with bff_client(app) as client:
        calls = [
            asyncio.create_task(client.get("/mine", headers={"x-api-key": key})) for key in ("one", "two", "one", "two")
        ]
        await until(lambda: gate.asked["/things/same"] == 2)
        gate.open.set()
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
        assert gate.asked["/things/same"] == 2


async def by_token(request: AuthorizerRequest) -> Principal:
    return Principal("ann", token=request.headers["authorization"].removeprefix("Bearer "))


async def test_tokens_of_one_user_do_not_share(services: FakeServices, gate: Gate) -> None:
    """What is sent for one may be answered otherwise than what is sent for the other."""
    relayed = {"things": ServiceSettings(**services.settings["things"], auth="relay")}
    app = create_bff(
        "t",
        settings=Settings(services=relayed),
        clients=[Things],
        auth=Authorizer(by_token),
        transport=services.transport,
    )
    app.page("/mine", Mine)
    async with bff_client(app) as client:
        calls = [
            asyncio.create_task(client.get("/mine", headers={"authorization": f"Bearer {token}"}))
            for token in ("one", "two", "one", "two")
        ]
        await until(lambda: len(gate.tokens) == 2)
        gate.open.set()
        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}
    assert sorted(gate.tokens) == ["Bearer one", "Bearer two"]


async def test_who_leaves_does_not_stop_the_others(services: FakeServices, gate: Gate) -> None:
    """The call goes on while anybody waits for it, and is let go with the last."""
    app = gateway(services)
    async with bff_client(app) as client:
        stays = asyncio.create_task(client.get("/things/x"))
        await until(lambda: gate.asked["/things/x"] == 1)
        leaves = [asyncio.create_task(client.get("/things/x")) for _ in range(3)]
        alone = asyncio.create_task(client.get("/things/alone"))
        await until(lambda: gate.asked["/things/alone"] == 1)
        for task in (*leaves, alone):
            task.cancel()
        await asyncio.gather(*leaves, alone, return_exceptions=True)
        flights = app.clients[Things].bound["thing"].flights
        assert len(flights) == 1
        gate.open.set()
        assert (await stays).json() == {"thing": {"id": "x"}}
        assert len(flights) == 0
        assert gate.asked["/things/x"] == 1


async def test_a_shared_failure_is_everybodys(services: FakeServices) -> None:
    """An error is shared like an answer; nobody asks again for each."""
    route = services["things"].get("/things/x").respond(400)
    app = gateway(services)
    async with bff_client(app) as client:
        answers = await asyncio.gather(*(client.get("/things/x") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {502}
    assert route.call_count < 10


async def test_a_hurried_one_does_not_wait_for_the_others(services: FakeServices, gate: Gate) -> None:
    """Who joins with less time is told when it is over; the call goes on."""
    app = gateway(services)
    async with bff_client(app) as client:
        patient = asyncio.create_task(client.get("/things/x"))
        await until(lambda: gate.asked["/things/x"] == 1)
        hurried = await client.get("/things/x", headers={"grpc-timeout": "40m"})
        assert hurried.status_code == 504
        assert not patient.done()
        gate.open.set()
        assert (await patient).status_code == 200
        assert gate.asked["/things/x"] == 1


async def test_nobody_shares_anothers_hurry(services: FakeServices, gate: Gate) -> None:
    """Who asks while a hurried one's call is under way begins another, which all with the usual time share."""
    app = gateway(services, timeout=2.0)
    async with bff_client(app) as client:
        hurried = asyncio.create_task(client.get("/things/x", headers={"grpc-timeout": "1500m"}))
        await until(lambda: gate.asked["/things/x"] == 1)
        usual = [asyncio.create_task(client.get("/things/x")) for _ in range(3)]
        await until(lambda: gate.asked["/things/x"] == 2)
        gate.open.set()
        assert {answer.status_code for answer in await asyncio.gather(hurried, *usual)} == {200}
        assert gate.asked["/things/x"] == 2


async def test_look_ups_of_one_request_become_one(services: FakeServices) -> None:
    """Across sections and own logic: each id once, chunks of the limit, everybody's own rows in their order."""
    asked: list[list[str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        ids = request.url.params.get_list("ids")
        asked.append([request.url.params["shade"], *ids])
        return httpx.Response(200, json={"items": [{"id": key} for key in reversed(ids) if key != "none"]})

    services["things"].get("/things").mock(side_effect=answer)
    app = gateway(services)
    missing: list[Event] = []
    app.events.subscribe(lambda event: missing.append(event) if event.name == "OnMissing" else None)
    async with bff_client(app) as client:
        body = (await client.get("/three")).json()
    rows = {name: [row["id"] for row in body[name]] for name in ("first", "second", "third", "other")}
    assert rows == {"first": ["a", "b"], "second": ["c", "b"], "third": ["a", "d"], "other": ["a"]}
    assert sorted(asked) == [["any", "a", "b", "c", "none"], ["any", "a", "d"], ["dark", "a"]] or sorted(asked) == [
        ["any", "a", "b", "c", "none"],
        ["any", "d"],
        ["dark", "a"],
    ]
    assert [event.detail for event in missing] == ["none"]


async def test_one_failing_chunk_fails_its_look_ups(services: FakeServices) -> None:
    """Half an answer is none: the sections degrade."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400)

    services["things"].get("/things").mock(side_effect=answer)
    app = gateway(services)
    async with bff_client(app) as client:
        body = (await client.get("/three")).json()
    assert sorted(body["_degraded"]) == ["first", "other", "second", "third"]


async def test_hedge(services: FakeServices) -> None:
    """A GET that takes long gets a second attempt; whichever answers first counts, the other is let go."""
    blocked = asyncio.Event()
    order: list[int] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        order.append(len(order))
        if len(order) == 1:
            await blocked.wait()
        return httpx.Response(200, json={"id": "x"})

    services["things"].get("/things/x").mock(side_effect=answer)
    app = gateway(services, hedge=HedgePolicy(enabled=True, delay=0.02))
    heard: list[str] = []
    app.events.subscribe(lambda event: heard.append(event.name))
    async with bff_client(app) as client:
        response = await client.get("/things/x")
        assert response.json() == {"thing": {"id": "x"}}
        assert len(order) == 2
        assert heard == ["OnHedging"]
        blocked.set()
    assert app.upstreams["things"].wire.in_flight == 0


async def test_hedges_are_paid_from_the_budget(services: FakeServices) -> None:
    """Without budget, or with an open circuit, none is sent."""
    hanging = asyncio.Event()

    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        await hanging.wait()
        return httpx.Response(200, json={"id": "x"})

    services["things"].get("/things/x").mock(side_effect=answer)
    app = gateway(
        services, hedge=HedgePolicy(enabled=True, delay=0.01), retry=RetryPolicy(budget=0, reserve=0), timeout=20
    )
    async with bff_client(app) as client:
        call = asyncio.create_task(client.get("/things/x"))
        await asyncio.sleep(0.05)
        assert len(asked) == 1
        hanging.set()
        assert (await call).status_code == 200


async def test_events_of_a_failing_call(services: FakeServices) -> None:
    """Every decision is told, in Polly's words."""
    services["things"].get("/things/x").respond(503)
    app = gateway(services)
    heard: list[Event] = []
    app.events.subscribe(heard.append)
    async with bff_client(app) as client:
        assert (await client.get("/things/x")).status_code == 503
        for _ in range(30):
            await client.get("/things/x")
    names = Counter(event.name for event in heard)
    assert names["OnRetry"] >= 10
    assert names["OnCircuitOpened"] == 1
    assert names["OnCircuitRejected"] >= 1
    first = heard[0]
    assert (first.name, first.severity, first.pipeline, first.strategy, first.operation, first.attempt) == (
        "OnRetry",
        "warning",
        "things",
        "Retry",
        "thing",
        1,
    )
