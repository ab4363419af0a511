"""From the shop's outbox to each endpoint, in its version; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from bff_core import ConnectFailed, Settings, Versions, Webhooks, WebhookSettings, create_bff
from bff_core.stores import sql_engine
from bffs.partner import events
from bffs.partner.events import EVENTS, OrderFeed
from bffs.partner.schema import prepare
from bffs.partner.shapes import PartnerOrder, partner_order
from bffs.partner.versions import VERSIONS
from shop.clients import Orders
from shop.models import Order, OrderEvents
from tests.shop.conftest import Ask
from tests.webhooks.receiver import Receiver

KEY = "s" * 43


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/partner.db"
    return str(request.getfixturevalue("postgres_url"))


class Place:
    """A replica's feed and webhooks."""

    def __init__(self, url: str, shop: httpx.AsyncClient, versions: Versions = VERSIONS) -> None:
        settings = WebhookSettings.model_validate({"url": url, "keys": [KEY], "allow": ["127.0.0.0/8"]})
        self.webhooks = Webhooks(settings, events=EVENTS, versions=versions)
        services = {"services": {"orders": {"url": "http://orders.test"}}}
        self.app = create_bff(
            "partner", settings=Settings.load(**services), clients=[Orders], transport=shop._transport
        )
        orders = self.app.clients[Orders]
        assert isinstance(orders, Orders)
        self.feed = OrderFeed(self.webhooks, orders, every=0.01)

    async def endpoint(self, url: str, version: str) -> str:
        added = await self.webhooks.endpoints.add("acme", url, ["*"], most=9, version=version)
        assert added is not None
        await self.webhooks.endpoints.enable(added[0])
        return added[0].id


@pytest.fixture
async def place(url: str, ask: Ask) -> AsyncIterator[Place]:
    made = Place(url, ask("orders"))
    await made.webhooks.prepare()
    await prepare(made.webhooks.engine)
    yield made
    await made.webhooks.aclose()


async def order(ask: Ask, number: int, partner: str | None = "acme") -> Any:
    lines = [{"product_id": "p1", "quantity": 2}]
    body = {"user_id": "u1", "partner_id": partner, "lines": lines}
    answer = await ask("orders").post("/orders", json=body, headers={"idempotency-key": f"key-{number}"})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_each_endpoint_in_its_version(place: Place, ask: Ask) -> None:
    """What was ordered and cancelled reaches both, in the order and the form that each was promised; others' orders and
    the shop's own reach nobody here."""
    async with Receiver() as receiver:
        await place.endpoint(receiver.url("old"), "2024-11-01")
        await place.endpoint(receiver.url("new"), "2026-05-01")
        placed = await order(ask, 1)
        assert await order(ask, 1) == placed  # sent again: nothing happened
        await order(ask, 2, partner="globex")
        await order(ask, 3, partner=None)
        await ask("orders").post(f"/orders/{placed['id']}/cancel")
        assert await place.feed.step() == 3
        assert await place.feed.step() == 0
        await place.webhooks.dispatcher().drain()
    old = [json.loads(got.body) for got in receiver.got["old"]]
    new = [json.loads(got.body) for got in receiver.got["new"]]
    assert receiver.ids("old") == receiver.ids("new")
    assert sorted(body["type"] for body in old) == ["order.created", "order.updated"]
    assert {body["api_version"] for body in old} == {"2024-11-01"}
    assert {body["api_version"] for body in new} == {"2026-05-01"}
    amount = placed["total"]["amount"]
    (first,) = [body["data"] for body in old if body["type"] == "order.created"]
    assert first == {
        "id": placed["id"],
        "status": "paid",
        "total": f"{amount / 100:.2f}",
        "currency": "EUR",
        "lines": [{"product": "p1", "quantity": 2}],
    }
    (second,) = [body["data"] for body in new if body["type"] == "order.updated"]
    assert (second["status"], second["total"]) == ("cancelled", {"amount": amount, "currency": "EUR"})


async def test_replicas_that_read_the_same(place: Place, url: str, ask: Ask) -> None:
    """Ten at once, over and over: one event each."""
    async with Receiver() as receiver:
        endpoint = await place.endpoint(receiver.url("a"), "2026-05-01")
        others = [Place(url, ask("orders")) for _ in range(3)]
        for number in range(12):
            await order(ask, number)
            await asyncio.gather(*(each.feed.step() for each in [place, *others]), return_exceptions=True)
        await place.feed.step()
        await place.webhooks.dispatcher().drain()
        assert len(await place.webhooks.log.page("acme", endpoint, state=None, cursor=None, most=50)) == 12
        for each in others:
            await each.webhooks.aclose()
    assert len(set(receiver.ids("a"))) == len(receiver.ids("a")) == 12


async def test_killed_between_reading_and_committing(
    place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost and nothing comes twice: the events and how far was read are written together or not at all."""
    for number in range(3):
        await order(ask, number)
    publish, count = place.webhooks.publish, 0

    async def dies(*args: Any, **options: Any) -> str:
        nonlocal count
        count += 1
        if count == 2:
            raise asyncio.CancelledError
        return await publish(*args, **options)

    monkeypatch.setattr(place.webhooks, "publish", dies)
    with pytest.raises(asyncio.CancelledError):
        await place.feed.step()
    monkeypatch.undo()
    assert await rows(url) == 0
    assert await place.feed.step() == 3
    assert await rows(url) == 3


async def rows(url: str) -> int:
    from sqlalchemy import text

    engine = sql_engine(url)
    async with engine.connect() as connection:
        count: int = (await connection.execute(text("SELECT count(*) FROM bff_webhook_events"))).scalar_one()
    await engine.dispose()
    return count


async def test_an_event_that_cannot_be_told_stops_no_other(
    place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out, and logged."""
    for number in range(2):
        await order(ask, number)
    page = (await ask("orders").get("/events")).json()
    found = OrderEvents.model_validate(page)
    monkeypatch.setattr(place.webhooks.outbox, "_max_event", 10)
    assert await place.feed.step() == len(found.items) == 2
    assert await rows(url) == 0
    assert await place.feed.step() == 0


@pytest.mark.parametrize("mistake", [ValueError("x"), ArithmeticError("x")])
async def test_an_order_that_nobody_can_render_stops_no_other(
    place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch, mistake: Exception
) -> None:
    """What is wrong with it is so the next time, too."""
    for number in range(3):
        await order(ask, number)
    poison = (await ask("orders").get("/events")).json()["items"][1]["order"]["id"]

    def rendered(each: Order) -> PartnerOrder:
        if each.id == poison:
            raise mistake
        return partner_order(each)

    monkeypatch.setattr(events, "partner_order", rendered)
    assert await place.feed.step() == 3
    assert await rows(url) == 2


async def test_a_mistake_of_our_own_loses_no_event(
    place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait until it is mended."""
    for number in range(2):
        await order(ask, number)

    def rendered(_: Order) -> PartnerOrder:
        raise KeyError("currency")

    with monkeypatch.context() as patched:
        patched.setattr(events, "partner_order", rendered)
        with pytest.raises(KeyError):
            await place.feed.step()
    assert await rows(url) == 0
    assert await place.feed.step() == 2
    assert await rows(url) == 2


@pytest.mark.parametrize(
    ("state", "of_the_data"),
    [("22021", True), ("23514", True), ("54000", True), ("40P01", False), ("57014", False), ("42703", False)],
)
def test_what_the_database_blames_on_the_data(state: str, of_the_data: bool) -> None:
    class Raised(Exception):
        sqlstate = state

    assert events._is_of_the_data(OperationalError("", None, Raised())) is of_the_data


@pytest.mark.parametrize("name", ["a\0b", "x" * 600])
async def test_a_partner_that_the_database_cannot_hold(place: Place, url: str, ask: Ask, name: str) -> None:
    """Its event is left out (SQLite takes it), and no other's."""
    for number in range(3):
        await order(ask, number)
    page = (await ask("orders").get("/events")).json()
    page["items"][1]["order"]["partner_id"] = name

    async def events(cursor: str | None = None, limit: int = 100) -> OrderEvents:
        return OrderEvents.model_validate(page)

    place.feed._orders.events = events  # type: ignore[method-assign]
    assert await place.feed.step() == 3
    assert await rows(url) == (2 if url.startswith("postgresql") else 3)


async def test_a_database_that_fails_leaves_nothing_out(
    place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not of the event's data is tried again, with all of them."""
    for number in range(2):
        await order(ask, number)
    publish = place.webhooks.publish

    async def fails(*args: Any, **options: Any) -> str:
        await publish(*args, **options)
        raise OperationalError("", None, Exception("deadlock detected"))

    with monkeypatch.context() as patched:
        patched.setattr(place.webhooks, "publish", fails)
        with pytest.raises(OperationalError):
            await place.feed.step()
    assert await rows(url) == 0
    assert await place.feed.step() == 2
    assert await rows(url) == 2


async def outbox(ask: Ask) -> list[str]:
    return [event["id"] for event in (await ask("orders").get("/events")).json()["items"]]


async def test_the_outbox_is_emptied(place: Place, url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is written down here, and of nothing else; what could not be told to it is, the next time."""
    for number in range(3):
        await order(ask, number)
    publish = place.webhooks.publish

    async def fails(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(place.webhooks, "publish", fails)
    with pytest.raises(OSError):  # noqa: PT011 - any
        await place.feed.step()
    assert len(await outbox(ask)) == 3
    monkeypatch.setattr(place.webhooks, "publish", publish)

    async def away(_: str) -> None:
        raise ConnectFailed("the service is away")

    with monkeypatch.context() as patched:
        patched.setattr(place.feed._orders, "taken", away, raising=False)
        assert await place.feed.step() == 3
    assert len(await outbox(ask)) == 3
    assert await place.feed.step() == 0
    await order(ask, 4)
    assert await place.feed.step() == 1
    assert await outbox(ask) == []
    await order(ask, 5)
    assert await place.feed.step() == 1
    assert await rows(url) == 5


async def test_a_type_that_is_new_stops_no_other(place: Place, url: str, ask: Ask) -> None:
    """The shop may tell of more one day than this gateway passes on."""
    for number in range(2):
        await order(ask, number)
    page = (await ask("orders").get("/events")).json()
    page["items"][0]["type"] = "order.archived"
    events = place.feed._orders.events

    async def newer(cursor: str | None = None, limit: int = 100) -> OrderEvents:
        return OrderEvents.model_validate(page) if cursor is None else await events(cursor, limit)

    place.feed._orders.events = newer  # type: ignore[method-assign, assignment]
    try:
        assert await place.feed.step() == 2
    finally:
        place.feed._orders.__dict__.pop("events")
    assert await rows(url) == 1


async def test_the_service_is_away(place: Place, ask: Ask) -> None:
    """The feed goes on when it is back."""
    await order(ask, 1)
    await ask("orders").put("/_faults", json={"down": True})
    task = asyncio.create_task(place.feed.run())
    await asyncio.sleep(0)
    await ask("orders").put("/_faults", json={})
    for _ in range(500):
        async with place.webhooks.engine.connect() as connection:
            from sqlalchemy import text

            if (await connection.execute(text("SELECT count(*) FROM bff_webhook_events"))).scalar_one():
                break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("nothing came")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
