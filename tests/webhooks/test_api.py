"""Looking after endpoints from outside: what is shown, what is refused, and whose is whose."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from bff_core import ApiKey, ApiKeys, Bff, DeclarationError, Principal, Problem, Settings, create_bff, new_api_key
from bff_core.testing import bff_client
from bff_core.webhooks import Verifier, Webhooks
from bff_core.webhooks.api import owner_of

from .conftest import Clock, Make, Order
from .receiver import Receiver

pytestmark = pytest.mark.anyio

KEYS = {partner: new_api_key() for partner in ("acme", "globex")}


def gateway(webhooks: Webhooks, **options: Any) -> Bff:
    keys = [ApiKey(sha256=hashlib.sha256(key.encode()).hexdigest(), partner=partner) for partner, key in KEYS.items()]
    app = create_bff("partner", settings=Settings(deadline=10.0), clients=[], auth=ApiKeys(keys))
    webhooks.mount(app, dispatchers=0, **options)
    return app


class Partner:
    """Asks with its key, under ``/webhooks``."""

    def __init__(self, client: httpx.AsyncClient, name: str) -> None:
        self._client = client
        self._headers = {"x-api-key": KEYS[name]}

    async def __call__(self, method: str, path: str, status: int = 200, /, **body: Any) -> Any:
        answer = await self._client.request(
            method, f"/webhooks{path}", headers=self._headers, json=body if method in ("POST", "PATCH") else None
        )
        assert answer.status_code == status, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json() if answer.content else None


@pytest.fixture
async def client(make: Make) -> AsyncIterator[httpx.AsyncClient]:
    webhooks = make()
    async with bff_client(gateway(webhooks)) as running:
        running.webhooks = webhooks  # type: ignore[attr-defined]
        yield running


@pytest.fixture
def webhooks(client: httpx.AsyncClient) -> Webhooks:
    return client.webhooks  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def acme(client: httpx.AsyncClient) -> Partner:
    return Partner(client, "acme")


@pytest.fixture
def globex(client: httpx.AsyncClient) -> Partner:
    return Partner(client, "globex")


async def enabled(partner: Partner, url: str, **more: Any) -> Any:
    made = await partner("POST", "/endpoints", 201, url=url, **{"types": ["*"], **more})
    pinged = await partner("POST", f"/endpoints/{made['id']}/verify")
    assert pinged["ok"]
    return made


async def test_from_nothing_to_an_event(acme: Partner, webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    """Made, verified by a signed ping, tested, told."""
    made = await acme("POST", "/endpoints", 201, url=receiver.url("a"), types=["order.updated"], description="ours")
    assert (made["status"], made["types"], made["description"]) == ("unverified", ["order.updated"], "ours")
    verify = Verifier([made["secret"]], clock=clock).verify
    assert (await acme("POST", f"/endpoints/{made['id']}/test", 409, type="order.updated"))["status"] == 409
    pinged = await acme("POST", f"/endpoints/{made['id']}/verify")
    assert (pinged["ok"], pinged["answer"], pinged["endpoint"]["status"]) == (True, 204, "enabled")
    (ping,) = receiver.got["a"]
    assert json.loads(ping.body)["type"] == "webhook.ping"
    assert verify(ping.body, ping.headers) == ping.id
    sent = await acme("POST", f"/endpoints/{made['id']}/test", 202, type="order.updated")
    event = await webhooks.publish("order.updated", Order(id="o7"), to="acme")
    await webhooks.dispatcher().drain()
    assert receiver.ids("a")[1:] == [sent["event"], event]
    assert json.loads(receiver.got["a"][1].body)["data"] == {"id": "o1", "total": 0}
    for got in receiver.got["a"]:
        verify(got.body, got.headers)


async def test_a_ping_that_fails_enables_nothing(acme: Partner, receiver: Receiver, clock: Clock) -> None:
    made = await acme("POST", "/endpoints", 201, url=receiver.url("a"), types=["*"])
    receiver.behave["a"] = lambda _: (404, b"")
    pinged = await acme("POST", f"/endpoints/{made['id']}/verify")
    assert (pinged["ok"], pinged["answer"], pinged["endpoint"]["status"]) == (False, 404, "unverified")
    await acme("POST", f"/endpoints/{made['id']}/verify", 429)  # we are nobody's cannon
    assert len(receiver.got["a"]) == 1
    clock.now += 6
    del receiver.behave["a"]
    assert (await acme("POST", f"/endpoints/{made['id']}/verify"))["ok"]


async def test_a_ping_to_where_nothing_may_be_sent(acme: Partner) -> None:
    made = await acme("POST", "/endpoints", 201, url="https://169.254.169.254/latest", types=["*"])
    pinged = await acme("POST", f"/endpoints/{made['id']}/verify")
    assert (pinged["ok"], pinged["answer"], pinged["error"]) == (False, None, "not_reachable")


async def test_the_secret_is_shown_once(acme: Partner, receiver: Receiver, client: httpx.AsyncClient) -> None:
    made = await enabled(acme, receiver.url("a"))
    rotated = await acme("POST", f"/endpoints/{made['id']}/rotate")
    assert rotated["secret"] != made["secret"]
    shown = json.dumps([await acme("GET", "/endpoints"), await acme("GET", f"/endpoints/{made['id']}")])
    shown += json.dumps(await acme("PATCH", f"/endpoints/{made['id']}", description="x"))
    assert "whsec_" not in shown
    assert made["secret"].startswith("whsec_")
    answer = await client.get("/webhooks/endpoints", headers={"x-api-key": KEYS["acme"]})
    assert "secret" not in answer.text


async def test_the_public_key_of_v1a(acme: Partner, receiver: Receiver, clock: Clock) -> None:
    made = await enabled(acme, receiver.url("a"), signature="v1a")
    assert made["secret"].startswith("whpk_")
    (ping,) = receiver.got["a"]
    Verifier([made["secret"]], clock=clock).verify(ping.body, ping.headers)


async def test_changes(acme: Partner, webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    """At another URL it is verified anew; it can be disabled; null is for the rate alone."""
    made = await enabled(acme, receiver.url("a"), rate=5)
    one = f"/endpoints/{made['id']}"
    changed = await acme("PATCH", one, types=["order.created"], rate=None)
    assert (changed["types"], changed["rate"], changed["status"]) == (["order.created"], None, "enabled")
    assert (await acme("PATCH", one, url=receiver.url("b")))["status"] == "unverified"
    await webhooks.publish("order.created", Order(id="o1"), to="acme")
    await webhooks.dispatcher().drain()
    assert not receiver.got["b"]
    clock.now += 6
    assert (await acme("POST", f"{one}/verify"))["endpoint"]["status"] == "enabled"
    event = await webhooks.publish("order.created", Order(id="o2"), to="acme")
    assert (await acme("PATCH", one, enabled=False))["reason"] == "owner"
    await webhooks.dispatcher().drain()
    assert len(receiver.got["b"]) == 1  # the ping
    assert (await acme("GET", f"{one}/deliveries/{event}"))["state"] == "dead"
    for wrong in ({"url": None}, {"types": None}, {"enabled": True}, {"types": []}, {"status": "enabled"}):
        await acme("PATCH", one, 422, **wrong)
    await acme("DELETE", one, 204)
    await acme("GET", one, 404)
    await acme("DELETE", one, 404)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://a.example"}, {"url": "https://user@a.example/"}, {"url": "https://127.1/"}, {"url": ""},
        {"url": "https://a.example/" + "x" * 3000}, {"types": []}, {"types": ["order.deleted"]}, {"types": "*"},
        {"types": ["webhook.ping"]}, {"rate": 0}, {"rate": -1}, {"rate": 1e9}, {"rate": 1e-300}, {"description": "\0"},
        {"signature": "v2"}, {"owner": "globex"},
        {"status": "enabled"},
    ],
)  # fmt: skip
async def test_endpoints_that_are_refused(acme: Partner, wrong: dict[str, Any]) -> None:
    problem = await acme("POST", "/endpoints", 422, **{"url": "https://a.example/", "types": ["*"], **wrong})
    assert problem["status"] == 422
    assert (await acme("GET", "/endpoints"))["items"] == []


async def test_http_is_refused_where_nothing_is_excepted(make: Make) -> None:
    async with bff_client(gateway(make(allow=[]))) as client:
        acme = Partner(client, "acme")
        problem = await acme("POST", "/endpoints", 422, url="http://a.example/", types=["*"])
    assert problem["detail"] == "The URL must begin with https://."


async def test_there_is_an_end_to_endpoints(make: Make) -> None:
    async with bff_client(gateway(make(max_endpoints=2))) as client:
        acme = Partner(client, "acme")
        for status in (201, 201, 409):
            await acme("POST", "/endpoints", status, url="https://a.example/", types=["*"])
        await Partner(client, "globex")("POST", "/endpoints", 201, url="https://a.example/", types=["*"])


async def test_deliveries_by_the_page(acme: Partner, webhooks: Webhooks, receiver: Receiver) -> None:
    """The newest first, each once, filtered by state; one with its attempts."""
    made = await enabled(acme, receiver.url("a"))
    one = f"/endpoints/{made['id']}"
    events = [await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme") for n in range(7)]
    receiver.behave["a"] = lambda got: (500 if got.id == events[3] else 204, b"")
    await webhooks.dispatcher().drain()
    seen: list[str] = []
    cursor = ""
    while True:
        page = await acme("GET", f"{one}/deliveries?limit=3{cursor}")
        seen += [item["event"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == events[::-1]
    (failed,) = (await acme("GET", f"{one}/deliveries?state=pending"))["items"]
    assert (failed["event"], failed["attempts"]) == (events[3], 1)
    assert failed["next_attempt_at"] is not None
    detail = await acme("GET", f"{one}/deliveries/{events[3]}")
    assert [(attempt["number"], attempt["status"]) for attempt in detail["log"]] == [(1, 500)]
    assert (await acme("GET", f"{one}/deliveries?cursor=nonsense"))["items"] == []
    await acme("GET", f"{one}/deliveries?state=lost", 422)
    await acme("GET", f"{one}/deliveries?cursor=%00", 422)
    await acme("GET", f"{one}/deliveries/%00", 400)
    await acme("GET", "/endpoints/%00", 400)
    await acme("GET", f"{one}/deliveries?limit=101", 422)
    await acme("GET", f"{one}/deliveries/nonsense", 404)


async def test_replays(acme: Partner, webhooks: Webhooks, receiver: Receiver) -> None:
    made = await enabled(acme, receiver.url("a"))
    one = f"/endpoints/{made['id']}"
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await webhooks.dispatcher().drain()
    await acme("POST", f"{one}/deliveries/{event}/replay", 202)
    assert await acme("POST", f"{one}/replay", 202, since="2020-01-01T00:00:00Z") == {"deliveries": 0}
    await webhooks.dispatcher().drain()
    everything = {"since": "2020-01-01T00:00:00Z", "failed_only": False}
    assert await acme("POST", f"{one}/replay", 202, **everything) == {"deliveries": 1}
    await webhooks.dispatcher().drain()
    assert receiver.ids("a")[1:] == [event] * 3
    await acme("POST", f"{one}/replay", 422, since="2020-01-01T00:00:00")
    await acme("POST", f"{one}/deliveries/nonsense/replay", 404)


@pytest.mark.parametrize("how", ["removed", "disabled"])
async def test_replays_to_an_endpoint_that_ends_meanwhile(
    acme: Partner, webhooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Nobody is told that something is sent again which is not."""
    outbox, status = webhooks.outbox, 404 if how == "removed" else 409
    for name in ("replay_one", "replay_range"):
        made = await enabled(acme, receiver.url("a"))
        one = f"/endpoints/{made['id']}"
        event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        await webhooks.dispatcher().drain()
        replay = getattr(outbox, name)

        async def late(*args: Any, replay: Any = replay, one: str = one, **options: Any) -> Any:
            if how == "removed":
                await acme("DELETE", one, 204)
            else:
                await acme("PATCH", one, 200, enabled=False)
            return await replay(*args, **options)

        monkeypatch.setattr(outbox, name, late)
        if name == "replay_one":
            await acme("POST", f"{one}/deliveries/{event}/replay", status)
        else:
            await acme("POST", f"{one}/replay", status, since="2020-01-01T00:00:00Z", failed_only=False)
    async with webhooks.engine.connect() as connection:
        waiting = text("SELECT id FROM bff_webhook_deliveries WHERE state = 'pending'")
        assert (await connection.execute(waiting)).all() == []


async def test_what_is_somebody_elses_is_not_there(
    acme: Partner, globex: Partner, webhooks: Webhooks, receiver: Receiver
) -> None:
    """Every route, with another partner's ids: 404, and nothing has changed."""
    mine = await enabled(acme, receiver.url("a"))
    theirs = await enabled(globex, receiver.url("b"))
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await webhooks.dispatcher().drain()
    before = await acme("GET", "/endpoints"), await acme("GET", f"/endpoints/{mine['id']}/deliveries")
    one = f"/endpoints/{mine['id']}"
    attacks: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", one, {}),
        ("PATCH", one, {"url": "https://evil.example/"}),
        ("DELETE", one, {}),
        ("POST", f"{one}/verify", {}),
        ("POST", f"{one}/rotate", {}),
        ("POST", f"{one}/test", {"type": "order.updated"}),
        ("GET", f"{one}/deliveries", {}),
        ("GET", f"{one}/deliveries/{event}", {}),
        ("POST", f"{one}/deliveries/{event}/replay", {}),
        ("POST", f"{one}/replay", {"since": "2020-01-01T00:00:00Z", "failed_only": False}),
        # Another's event by one's own endpoint:
        ("GET", f"/endpoints/{theirs['id']}/deliveries/{event}", {}),
        ("POST", f"/endpoints/{theirs['id']}/deliveries/{event}/replay", {}),
    ]
    for method, path, body in attacks:
        await globex(method, path, 404, **body)
    everything = {"since": "2020-01-01T00:00:00Z", "failed_only": False}
    assert await globex("POST", f"/endpoints/{theirs['id']}/replay", 202, **everything) == {"deliveries": 0}
    assert (await globex("GET", f"/endpoints/{theirs['id']}/deliveries?cursor={event}"))["items"] == []
    await webhooks.dispatcher().drain()
    assert before == (await acme("GET", "/endpoints"), await acme("GET", f"/endpoints/{mine['id']}/deliveries"))
    assert [endpoint["id"] for endpoint in (await globex("GET", "/endpoints"))["items"]] == [theirs["id"]]
    assert receiver.ids("a")[1:] == [event]
    assert len(receiver.got["b"]) == 1


async def test_nobody_without_a_key(client: httpx.AsyncClient, make: Make) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = [path for path in document["paths"] if path.startswith("/webhooks")]
    assert len(paths) == 10
    for path in paths:
        for method in document["paths"][path]:
            answer = await client.request(
                method, path.replace("{", "").replace("}", ""), json={} if method == "post" else None
            )
            assert answer.status_code == 401, (method, path)
    app = create_bff("open", settings=Settings(), clients=[])
    webhooks = make()
    with pytest.raises(DeclarationError, match=r"the webhooks at '/hooks' .* 'open' has no authentication: .*auth="):
        webhooks.mount(app, "/hooks", dispatchers=0)


async def test_the_types_are_documented(client: httpx.AsyncClient, acme: Partner) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    described = document["webhooks"]["order.updated"]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    body = document["components"]["schemas"][schema]
    assert body["properties"]["type"]["const"] == "order.updated"
    assert body["properties"]["data"] == {"$ref": "#/components/schemas/Order"}
    assert body["examples"][0]["data"] == {"id": "o1", "total": 0}
    assert set(document["webhooks"]) == {
        "order.updated", "order.created", "webhook.ping", "webhook.endpoint_failing", "webhook.endpoint_disabled"
    }  # fmt: skip
    listed = (await acme("GET", "/event-types"))["items"]
    assert {"order.updated", "order.created"} < {kind["type"] for kind in listed}
    assert listed[-1]["schema"]["title"] == "Order"


async def test_the_version_of_whoever_makes_an_endpoint(make: Make, receiver: Receiver) -> None:
    webhooks = make()
    app = gateway(webhooks, version=lambda request: request.headers.get("x-version"))
    async with bff_client(app) as client:
        headers = {"x-api-key": KEYS["acme"], "x-version": "2026-01-01"}
        body = {"url": receiver.url("a"), "types": ["*"]}
        made = (await client.post("/webhooks/endpoints", headers=headers, json=body)).json()
        assert made["version"] == "2026-01-01"
        await Partner(client, "acme")("POST", f"/endpoints/{made['id']}/verify")
    assert json.loads(receiver.got["a"][0].body)["api_version"] == "2026-01-01"


async def test_dispatchers_run_with_the_gateway(make: Make, receiver: Receiver) -> None:
    webhooks = make(options={"clock": time.time}, poll=60)
    app = create_bff("partner", settings=Settings(), clients=[], auth=ApiKeys([]))
    webhooks.mount(app, dispatchers=2)
    async with bff_client(app):
        added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
        assert added is not None
        await webhooks.endpoints.enable(added[0])
        event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        while not receiver.got["a"]:
            await asyncio.sleep(0.005)
    assert set(receiver.ids("a")) == {event}


def test_whose_endpoints_they_are() -> None:
    assert owner_of(Principal("u1", tenant="acme")) == "acme"
    assert owner_of(Principal("u1", issuer="https://i")) == "https://i|u1"
    assert owner_of(Principal("u1")) == "|u1"
    assert owner_of(Principal("u1", issuer="a")) != owner_of(Principal("u1", issuer="b"))
    with pytest.raises(Problem):
        owner_of(Principal("u2", tenant="https://i|u1"))
