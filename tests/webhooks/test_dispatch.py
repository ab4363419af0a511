"""The failure table, each line on SQLite and on PostgreSQL, by a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import text

from bff_core.webhooks import Verifier, Webhooks
from bff_core.webhooks.connector import Outcome
from bff_core.webhooks.events import WebhookEvent
from bff_core.webhooks.queue import Release, Result
from bff_core.webhooks.retry import decide

from .conftest import Clock, Make, Order, endpoint, state
from .receiver import Got, Receiver

pytestmark = pytest.mark.anyio


async def deliver(webhooks: Webhooks) -> None:
    await webhooks.dispatcher().drain()


async def rows(webhooks: Webhooks, statement: str) -> list[tuple[object, ...]]:
    async with webhooks.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


def refusing(status: int, lines: bytes = b"") -> object:
    return lambda _: (status, lines)


async def test_told_signed_once(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["order.updated"], most=9)
    assert added is not None
    where, secret = added
    await webhooks.endpoints.enable(where)
    event = await webhooks.publish("order.updated", Order(id="o1", total=5), to="acme")
    await deliver(webhooks)
    await deliver(webhooks)
    (got,) = receiver.got["a"]
    assert got.id == event
    assert Verifier([secret], clock=clock).verify(got.body, got.headers) == event
    standardwebhooks.Webhook(secret).verify(got.body, got.headers)
    body = json.loads(got.body)
    assert body == {"type": "order.updated", "timestamp": body["timestamp"], "data": {"id": "o1", "total": 5}}
    assert body["timestamp"].endswith("Z")
    assert got.headers["content-type"] == "application/json"
    assert await state(webhooks, where.id, event) == ("delivered", 1)


async def test_fan_out_to_who_wants_it(webhooks: Webhooks, receiver: Receiver) -> None:
    """Every enabled endpoint of the owner, filtered by type; nobody else's."""
    await endpoint(webhooks, receiver.url("all"))
    await endpoint(webhooks, receiver.url("updated"), types=["order.updated"])
    await endpoint(webhooks, receiver.url("created"), types=["order.created"])
    await endpoint(webhooks, receiver.url("other"), owner="globex")
    await webhooks.endpoints.add("acme", receiver.url("unverified"), ["*"], most=9)
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    assert {path: receiver.ids(path) for path in list(receiver.got)} == {"all": [event], "updated": [event]}


async def test_the_schedule_and_the_dead_letter(make: Make, receiver: Receiver, clock: Clock) -> None:
    """At 0, 5 s, 5 min, …; the id stays, timestamp and signature are new; then the dead letter."""
    webhooks = make(schedule=(5, 300), disable_after=1e9)
    await webhooks.prepare()
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
    assert added is not None
    await webhooks.endpoints.enable(added[0])
    where, verify = added[0].id, Verifier([added[1]], clock=clock).verify
    receiver.behave["a"] = refusing(500)
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    for attempts, wait in ((1, 5), (2, 300)):
        await deliver(webhooks)
        assert len(receiver.got["a"]) == attempts
        clock.now += wait * 0.89
        await deliver(webhooks)
        assert len(receiver.got["a"]) == attempts
        found = await webhooks.log.find("acme", where, event)
        assert found is not None
        clock.now += wait * 0.22 + found[1][-1].took / 1000  # it is due so long after the attempt's end
    assert await state(webhooks, where, event) == ("pending", 2)
    await deliver(webhooks)
    assert await state(webhooks, where, event) == ("dead", 3)
    clock.now += 1e6
    await deliver(webhooks)
    assert receiver.ids("a") == [event] * 3
    assert len({got.headers["webhook-timestamp"] for got in receiver.got["a"]}) == 3
    assert len({got.headers["webhook-signature"] for got in receiver.got["a"]}) == 3
    clock.now = float(receiver.got["a"][-1].headers["webhook-timestamp"])
    assert verify(receiver.got["a"][-1].body, receiver.got["a"][-1].headers) == event
    found = await webhooks.log.find("acme", where, event)
    assert found is not None
    assert found[0].reason == "exhausted"
    assert [(attempt.number, attempt.status, attempt.error) for attempt in found[1]] == [
        (1, 500, ""), (2, 500, ""), (3, 500, "")
    ]  # fmt: skip


@pytest.mark.parametrize("status", [301, 400, 404, 500, 503])
async def test_only_2xx_is_success(webhooks: Webhooks, receiver: Receiver, status: int) -> None:
    where = await endpoint(webhooks, receiver.url("a"))
    receiver.behave["a"] = refusing(status)
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    assert await state(webhooks, where, event) == ("pending", 1)


async def test_gone_disables(webhooks: Webhooks, receiver: Receiver) -> None:
    """410: nothing more is sent, what was waiting is dead, the owner's other endpoints are told."""
    where = await endpoint(webhooks, receiver.url("a"), ordered=True)
    await endpoint(webhooks, receiver.url("b"), types=["webhook.endpoint_disabled"])
    receiver.behave["a"] = refusing(410)
    first = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    second = await webhooks.publish("order.updated", Order(id="o2"), to="acme")
    await deliver(webhooks)
    assert receiver.ids("a") == [first]
    assert await state(webhooks, where, first) == ("dead", 1)
    assert await state(webhooks, where, second) == ("dead", 0)
    found = await webhooks.endpoints.find("acme", where)
    assert found is not None
    assert (found.status, found.reason) == ("disabled", "gone")
    (notice,) = receiver.got["b"]
    assert json.loads(notice.body)["data"] | {"failing_since": None} == {
        "endpoint": where, "url": receiver.url("a"), "failing_since": None, "reason": "gone"
    }  # fmt: skip
    await webhooks.publish("order.updated", Order(id="o3"), to="acme")
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 1


async def test_gone_ends_what_is_under_way(webhooks: Webhooks, receiver: Receiver) -> None:
    """Eight are on their way when the first says so; no more are sent."""
    await endpoint(webhooks, receiver.url("a"))
    receiver.behave["a"] = refusing(410)
    for n in range(30):
        await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme")
    await deliver(webhooks)
    assert len(receiver.got["a"]) <= 8
    assert len(await rows(webhooks, "SELECT id FROM bff_webhook_deliveries WHERE state = 'dead'")) == 30


@pytest.mark.parametrize("status", [429, 502, 504, 503])
async def test_retry_after_is_honoured_for_the_whole_endpoint(
    webhooks: Webhooks, receiver: Receiver, clock: Clock, status: int
) -> None:
    where = await endpoint(webhooks, receiver.url("a"))
    receiver.behave["a"] = refusing(status, b"retry-after: 600\r\n")
    first = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    clock.now += 599
    second = await webhooks.publish("order.updated", Order(id="o2"), to="acme")
    await deliver(webhooks)
    assert receiver.ids("a") == [first]
    del receiver.behave["a"]
    clock.now += 2
    await deliver(webhooks)
    assert sorted(receiver.ids("a")[1:]) == sorted([first, second])
    assert await state(webhooks, where, first) == ("delivered", 2)


async def test_a_timeout_is_a_failure(make: Make, receiver: Receiver) -> None:
    webhooks = make(timeout=0.1)
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))

    async def never(_: Got) -> tuple[int, bytes]:
        await asyncio.Event().wait()
        return 200, b""

    receiver.behave["a"] = never
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    assert await state(webhooks, where, event) == ("pending", 1)
    found = await webhooks.log.find("acme", where, event)
    assert found is not None
    assert (found[1][0].status, found[1][0].error) == (None, "timeout")


async def test_five_days_of_failure(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    """A warning after one, disabled after five; each told once, to the owner's other endpoints."""
    where = await endpoint(webhooks, receiver.url("a"), types=["order.updated"])
    await endpoint(webhooks, receiver.url("b"), types=["webhook.endpoint_failing", "webhook.endpoint_disabled"])
    receiver.behave["a"] = refusing(500)
    told = []
    for _ in range(24):
        await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        await deliver(webhooks)
        clock.now += 6 * 3600
        told.append([json.loads(got.body)["type"] for got in receiver.got["b"]])
    assert told[3] == []
    assert told[4] == told[19] == ["webhook.endpoint_failing"]
    assert told[20] == told[-1] == ["webhook.endpoint_failing", "webhook.endpoint_disabled"]
    found = await webhooks.endpoints.find("acme", where)
    assert found is not None
    assert (found.status, found.reason) == ("disabled", "failing")
    assert await rows(webhooks, "SELECT DISTINCT state FROM bff_webhook_deliveries WHERE reason = 'disabled'") == [
        ("dead",)
    ]


async def test_one_success_and_the_days_count_anew(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    where = await endpoint(webhooks, receiver.url("a"))
    for day in range(12):
        receiver.behave["a"] = refusing(204 if day == 4 else 500)
        await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        await deliver(webhooks)
        clock.now += 86_400 * 0.9
        found = await webhooks.endpoints.find("acme", where)
        assert found is not None
        if day < 11:
            assert found.status == "enabled"
    assert found.status == "disabled"


async def test_a_dead_endpoint_delays_no_other(make: Make, receiver: Receiver) -> None:
    """A thousand deliveries that hang do not stand before the one that does not."""
    webhooks = make(timeout=20)
    await webhooks.prepare()
    release = asyncio.Event()

    async def hang(_: Got) -> tuple[int, bytes]:
        await release.wait()
        return 500, b""

    for n in range(10):
        await endpoint(webhooks, receiver.url(f"dead{n}"), types=["order.updated"])
        receiver.behave[f"dead{n}"] = hang
    await endpoint(webhooks, receiver.url("alive"), types=["order.created"])
    async with webhooks.engine.begin() as connection:
        for n in range(100):
            await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme", connection=connection)
    dispatcher = webhooks.dispatcher()
    running = asyncio.create_task(dispatcher.run())
    while sum(len(receiver.got[f"dead{n}"]) for n in range(10)) < 80:
        await asyncio.sleep(0.01)
    for n in range(20):
        event = await webhooks.publish("order.created", Order(id=f"c{n}"), to="acme")
        while event not in receiver.ids("alive"):
            await asyncio.sleep(0.005)
    assert sum(len(receiver.got[f"dead{n}"]) for n in range(10)) == 80  # eight at a time, each
    release.set()
    dispatcher.stop()
    await running


async def test_a_failing_endpoint_gets_few_attempts(make: Make, receiver: Receiver, clock: Clock) -> None:
    """Eight in a row have failed: the rest is not tried now, and then at ten a second."""
    webhooks = make(concurrency=8, failing_rate=10)
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"))
    receiver.behave["a"] = refusing(500)
    for n in range(100):
        await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme")
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 15  # each of the eight but the last has begun another
    clock.now += 1.45
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 15
    clock.now += 0.1
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 23
    clock.now += 0.75
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 23
    del receiver.behave["a"]
    clock.now += 1000
    await deliver(webhooks)
    assert len(set(receiver.ids("a"))) == 100


async def test_a_flapping_endpoint_is_not_taken_for_a_dead_one(
    webhooks: Webhooks, receiver: Receiver, clock: Clock
) -> None:
    """The last of fifty failed: it rests for a tenth of a second, not for five."""
    await endpoint(webhooks, receiver.url("a"))
    events = [await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme") for n in range(100)]
    receiver.behave["a"] = lambda got: (500 if got.id == events[49] else 204, b"")
    await deliver(webhooks)
    assert len(receiver.got["a"]) == 50
    clock.now += 0.11
    await deliver(webhooks)
    assert set(receiver.ids("a")) == set(events)


async def test_in_order(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    """An ordered endpoint gets the next when it has taken the one before, or that is dead."""
    where = await endpoint(webhooks, receiver.url("a"), ordered=True)
    events = [await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme") for n in range(5)]
    failing = {events[2]}
    receiver.behave["a"] = lambda got: (500 if got.id in failing else 204, b"")
    await deliver(webhooks)
    assert receiver.ids("a") == events[:3]
    clock.now += 6
    await deliver(webhooks)
    assert receiver.ids("a") == [*events[:3], events[2]]
    failing.clear()
    clock.now += 400
    await deliver(webhooks)
    assert receiver.ids("a") == [*events[:3], events[2], events[2], *events[3:]]
    assert await state(webhooks, where, events[2]) == ("delivered", 3)


async def test_in_order_past_a_dead_one(make: Make, receiver: Receiver, clock: Clock) -> None:
    webhooks = make(schedule=(1,))
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"), ordered=True)
    events = [await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme") for n in range(3)]
    receiver.behave["a"] = lambda got: (500 if got.id == events[0] else 204, b"")
    for _ in range(4):
        await deliver(webhooks)
        clock.now += 10
    assert receiver.ids("a") == [events[0], events[0], *events[1:]]
    assert await state(webhooks, where, events[0]) == ("dead", 2)


async def test_the_rate_of_an_endpoint(webhooks: Webhooks, receiver: Receiver, clock: Clock, monkeypatch) -> None:
    """Two a second, also from one turn of a lane to the next."""
    await endpoint(webhooks, receiver.url("a"), rate=2.0)
    for n in range(20):
        await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme")
    real = asyncio.sleep
    at: list[float] = []
    receiver.behave["a"] = lambda _: at.append(clock.now) or (204, b"")  # type: ignore[func-returns-value]

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        await real(0)

    monkeypatch.setattr("bff_core.webhooks.lane.asyncio.sleep", sleep)
    began = clock.now
    while len(at) < 20:
        await deliver(webhooks)
        clock.now += 0.05
    for count in range(1, 20):
        assert at[count] - began >= (count - 8) * 0.5  # eight are under way at once
    assert clock.now - began >= 9.4


async def test_a_clock_that_is_set_back_holds_up_no_lane(
    webhooks: Webhooks, receiver: Receiver, clock: Clock, monkeypatch
) -> None:
    """A slot was reckoned by the clock as it was: neither the turn nor the lane waits until it is that late again."""
    await endpoint(webhooks, receiver.url("a"), rate=2.0)
    for n in range(3):
        await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme")
    real = asyncio.sleep
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds
        await real(0)

    def answer(_: object) -> tuple[int, bytes]:
        if len(receiver.ids("a")) == 1:
            clock.now -= 3600
        return 204, b""

    monkeypatch.setattr("bff_core.webhooks.lane.asyncio.sleep", sleep)
    receiver.behave["a"] = answer  # type: ignore[assignment]
    for _ in range(40):
        await deliver(webhooks)
        clock.now += 0.5
    assert len(receiver.ids("a")) == 3
    assert max(slept, default=0.0) <= 10


async def test_the_write_and_its_event_are_one(webhooks: Webhooks, receiver: Receiver) -> None:
    """Rolled back with what happened; committed with it."""
    await endpoint(webhooks, receiver.url("a"))
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE business (n INTEGER)"))

    async def half() -> None:
        async with webhooks.engine.begin() as connection:
            await connection.execute(text("INSERT INTO business VALUES (1)"))
            await webhooks.publish("order.updated", Order(id="o1"), to="acme", connection=connection)
            raise KeyError

    with pytest.raises(KeyError):
        await half()
    await deliver(webhooks)
    assert not receiver.got
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("INSERT INTO business VALUES (2)"))
        event = await webhooks.publish("order.updated", Order(id="o2"), to="acme", connection=connection)
    await deliver(webhooks)
    assert receiver.ids("a") == [event]
    assert await rows(webhooks, "SELECT n FROM business") == [(2,)]


async def test_told_twice_is_told_once(webhooks: Webhooks, receiver: Receiver) -> None:
    await endpoint(webhooks, receiver.url("a"))
    for _ in range(3):
        assert await webhooks.publish("order.updated", Order(id="o1"), to="acme", event_id="evt-1") == "evt-1"
    await deliver(webhooks)
    assert receiver.ids("a") == ["evt-1"]


@pytest.mark.parametrize("event_id", ["", "a.b", "a b", "x" * 65, "a\n"])
async def test_ids_that_cannot_be_signed(webhooks: Webhooks, event_id: str) -> None:
    with pytest.raises(ValueError, match="the id of an event"):
        await webhooks.publish("order.updated", Order(id="o1"), to="acme", event_id=event_id)


async def test_what_is_no_event(make: Make) -> None:
    webhooks = make(max_event=4096)
    await webhooks.prepare()
    with pytest.raises(ValueError, match="no event type"):
        await webhooks.publish("order.deleted", Order(id="o1"), to="acme")
    with pytest.raises(ValueError, match="no event type"):
        await webhooks.publish("order.updated", make, to="acme")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="larger than"):
        await webhooks.publish("order.updated", Order(id="x" * 4096), to="acme")


async def test_both_secrets_sign_while_one_is_replaced(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
    assert added is not None
    where, old = added
    await webhooks.endpoints.enable(where)
    new = await webhooks.endpoints.rotate(where, grace=3600)
    assert new is not None

    async def verified(secret: str) -> bool:
        await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        await deliver(webhooks)
        got = receiver.got["a"][-1]
        try:
            return bool(Verifier([secret], clock=clock).verify(got.body, got.headers))
        except Exception:  # noqa: BLE001
            return False

    assert [await verified(secret) for secret in (old, new)] == [True, True]
    clock.now += 3601
    assert [await verified(secret) for secret in (old, new)] == [False, True]
    third = await webhooks.endpoints.rotate(where, grace=0)
    assert third is not None
    assert [await verified(secret) for secret in (new, third)] == [False, True]
    assert len(await rows(webhooks, "SELECT id FROM bff_webhook_secrets")) == 1


async def test_v1a(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9, kind="v1a")
    assert added is not None
    where, shown = added
    assert shown.startswith("whpk_")
    await webhooks.endpoints.enable(where)
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    (got,) = receiver.got["a"]
    assert Verifier([shown], clock=clock).verify(got.body, got.headers) == event
    assert (await webhooks.endpoints.rotate(where, grace=60) or "").startswith("whpk_")


async def test_replay(webhooks: Webhooks, receiver: Receiver, clock: Clock) -> None:
    """One; what failed since; all between two instants, also what came while the endpoint was disabled."""
    where = await endpoint(webhooks, receiver.url("a"), types=["order.updated"])
    replay = webhooks.outbox.replay_range
    events = []
    receiver.behave["a"] = refusing(410)
    for n in range(2):
        events.append(await webhooks.publish("order.updated", Order(id=f"o{n}"), to="acme"))
        await deliver(webhooks)
        clock.now += 60
    del receiver.behave["a"]
    found = await webhooks.endpoints.find("acme", where)
    assert found is not None
    await webhooks.endpoints.enable(found)
    started = clock.now
    await webhooks.publish("order.created", Order(id="no"), to="acme")
    events.append(await webhooks.publish("order.updated", Order(id="o2"), to="acme"))
    await deliver(webhooks)
    receiver.got.clear()

    assert await webhooks.outbox.replay_one(where, events[2], ordered=False)
    assert not await webhooks.outbox.replay_one(where, "nonsense", ordered=False)
    await deliver(webhooks)
    assert receiver.ids("a") == [events[2]]
    assert await state(webhooks, where, events[2]) == ("delivered", 2)

    receiver.got.clear()
    assert await replay(where, started, clock.now + 1, ordered=False, failed_only=True) == 0
    assert await replay(where, 0, clock.now + 1, ordered=False, failed_only=True) == 1
    await deliver(webhooks)
    assert receiver.ids("a") == [events[0]]

    receiver.got.clear()
    assert await replay(where, 0, clock.now + 1, ordered=False, failed_only=False) == 3
    await deliver(webhooks)
    assert sorted(receiver.ids("a")) == sorted(events)


async def test_versions(make: Make, receiver: Receiver) -> None:
    """The body is that of the endpoint's version; the id is one."""

    def render(event):  # type: ignore[no-untyped-def]
        return {"kind": event.type, "order": event.data["id"]} if event.version == "v1" else {"type": event.type}

    webhooks = make(options={"render": render})
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("old"), version="v1")
    await endpoint(webhooks, receiver.url("new"))
    await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    assert json.loads(receiver.got["old"][0].body) == {"kind": "order.updated", "order": "o1"}
    assert json.loads(receiver.got["new"][0].body) == {"type": "order.updated"}
    assert receiver.ids("old") == receiver.ids("new")


async def test_a_version_that_cannot_be_rendered(make: Make, receiver: Receiver) -> None:
    """Our own mistake is tried again, as a new release may have mended it; others are not hindered."""

    def render(event):  # type: ignore[no-untyped-def]
        return {} if event.version is None else 1 / 0

    webhooks = make(options={"render": render})
    await webhooks.prepare()
    broken = await endpoint(webhooks, receiver.url("old"), version="v1")
    await endpoint(webhooks, receiver.url("new"))
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    assert await state(webhooks, broken, event) == ("pending", 1)
    assert receiver.ids("new") == [event]


async def test_a_dump_holds_no_secret(webhooks: Webhooks, receiver: Receiver) -> None:
    secrets = []
    for kind in ("v1", "v1a"):
        added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9, kind=kind)  # type: ignore[arg-type]
        assert added is not None
        secrets += await webhooks.endpoints.secrets(added[0].id)
    dump = b""
    for table in ("endpoints", "types", "secrets", "events", "deliveries", "attempts"):
        for row in await rows(webhooks, f"SELECT * FROM bff_webhook_{table}"):
            dump += b"".join(value if isinstance(value, bytes) else repr(value).encode() for value in row)
    assert b"acme" in dump
    for secret in secrets:
        encoded = secret.partition("_")[2]
        for form in (secret.encode(), encoded.encode(), base64.b64decode(encoded), base64.b64decode(encoded)[:32]):
            assert form not in dump


async def test_the_answer_is_kept_in_part(webhooks: Webhooks, receiver: Receiver) -> None:
    """A thousand characters, and none that a database cannot hold."""
    where = await endpoint(webhooks, receiver.url("a"))

    def answer(_: Got) -> tuple[int, bytes]:
        body = b"\0\xff" + b"x" * 5000
        return 500, b"content-length: %d\r\n\r\n" % len(body) + body

    receiver.behave["a"] = answer
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    found = await webhooks.log.find("acme", where, event)
    assert found is not None
    assert found[1][0].body == "\ufffd\ufffd" + "x" * 1022


async def test_what_is_old_is_removed(make: Make, receiver: Receiver, clock: Clock) -> None:
    webhooks = make(retention=1000, schedule=(5000,))
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"))
    await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await deliver(webhooks)
    receiver.behave["a"] = refusing(500)
    waiting = await webhooks.publish("order.updated", Order(id="o2"), to="acme")
    clock.now += 1001
    await deliver(webhooks)
    assert await rows(webhooks, "SELECT id FROM bff_webhook_events") == [(waiting,)]
    assert await rows(webhooks, "SELECT event FROM bff_webhook_deliveries") == [(waiting,)]


async def test_the_database_is_down(make: Make, tmp_path) -> None:
    """The write fails with it: nothing is dropped silently."""
    webhooks = make()
    with pytest.raises(Exception, match="bff_webhook_events"):  # there are no tables yet
        await webhooks.publish("order.updated", Order(id="o1"), to="acme")


async def test_what_was_published_while_its_endpoint_was_disabled(
    make: Make, database: str, receiver: Receiver
) -> None:
    """Neither transaction sees the other on PostgreSQL. It does not wait for ever: it is dead, and can be replayed."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    if database.startswith("postgresql"):
        async with webhooks.engine.begin() as connection:
            event = await webhooks.publish("order.updated", Order(id="o1"), to="acme", connection=connection)
            await webhooks.endpoints.change("acme", where, {"enabled": False})
    else:  # which has one writer at a time
        event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
        async with webhooks.engine.begin() as connection:
            await connection.execute(text("UPDATE bff_webhook_endpoints SET status = 'disabled'"))
    assert await state(webhooks, where, event) == ("pending", 0)
    dispatcher = webhooks.dispatcher()
    running = asyncio.create_task(dispatcher.run())
    for _ in range(500):
        if await state(webhooks, where, event) == ("dead", 0):
            break
        await asyncio.sleep(0.01)
    dispatcher.stop()
    await running
    assert await state(webhooks, where, event) == ("dead", 0)
    assert receiver.got == {}


async def test_our_own_mistake_disables_nobody(make: Make, receiver: Receiver, clock: Clock) -> None:
    """An event that cannot be rendered says nothing about the endpoint, however long that lasts."""

    def render(event):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError

    webhooks = make(options={"render": render}, schedule=[3600.0] * 200, warn_after=10.0, disable_after=20.0)
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    for _ in range(5):
        await deliver(webhooks)
        clock.now += 4000
    assert await state(webhooks, where, event) == ("pending", 5)
    found = await webhooks.endpoints.find("acme", where)
    assert found is not None
    assert (found.status, found.failing_since) == ("enabled", None)


async def test_our_own_mistake_and_order(make: Make, receiver: Receiver, clock: Clock) -> None:
    """In an ordered lane nothing overtakes what we cannot render yet."""
    broken = True

    def render(event: WebhookEvent) -> dict[str, Any]:
        if broken and event.data["id"] == "o1":
            raise ZeroDivisionError
        return {"order": event.data["id"]}

    webhooks = make(options={"render": render}, schedule=[3600.0] * 200)
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"), ordered=True)
    for number in range(1, 4):
        await webhooks.publish("order.updated", Order(id=f"o{number}"), to="acme")
    await deliver(webhooks)
    assert "a" not in receiver.got
    broken = False
    clock.now += 4000
    await deliver(webhooks)
    assert [json.loads(got.body)["order"] for got in receiver.got["a"]] == ["o1", "o2", "o3"]


async def test_the_newest_secret_is_never_the_one_forgotten(webhooks: Webhooks, receiver: Receiver) -> None:
    """However quickly they follow each other."""
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
    assert added is not None
    for _ in range(8):
        newest = await webhooks.endpoints.rotate(added[0], grace=60.0)
        assert newest in await webhooks.endpoints.secrets(added[0].id)
    assert len(await webhooks.endpoints.secrets(added[0].id)) == 3


async def test_what_was_published_while_its_endpoint_was_removed(webhooks: Webhooks, receiver: Receiver) -> None:
    """PostgreSQL lets neither see the other: what is left waits for nobody, and goes with its age."""
    where = await endpoint(webhooks, receiver.url("a"))
    await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("DELETE FROM bff_webhook_endpoints WHERE id = :id"), {"id": where})
    assert await webhooks.dispatcher()._queue.purge(webhooks._clock() + 1) == 1
    assert await rows(webhooks, "SELECT * FROM bff_webhook_deliveries") == []


async def test_a_replay_of_what_is_being_removed_for_its_age(make: Make, receiver: Receiver) -> None:
    """Whoever removes it waits for who has the endpoint, and heeds what they have done: nothing that was promised to be
    sent again is lost."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    events = [await webhooks.publish("order.updated", Order(id=f"o{number}"), to="acme") for number in range(2)]
    await deliver(webhooks)
    queue = webhooks.dispatcher()._queue
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("UPDATE bff_webhook_endpoints SET id = id WHERE id = :id"), {"id": where})
        purging = asyncio.create_task(queue.purge(webhooks._clock() + 1))
        await asyncio.sleep(0.3)
        again = text("UPDATE bff_webhook_deliveries SET state = 'pending' WHERE event = :event")
        assert (await connection.execute(again, {"event": events[0]})).rowcount == 1
    assert await purging == 1
    assert await state(webhooks, where, events[0]) == ("pending", 1)
    assert len(await rows(webhooks, "SELECT * FROM bff_webhook_events")) == 1
    assert len(await rows(webhooks, "SELECT * FROM bff_webhook_attempts")) == 1


async def test_two_who_purge(make: Make) -> None:
    """Take different events, and wait for nobody."""
    webhooks = make()
    await webhooks.prepare()
    await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    await webhooks.publish("order.updated", Order(id="o2"), to="acme")
    queue = webhooks.dispatcher()._queue
    if not queue._postgresql:
        return  # which has one writer
    async with webhooks.engine.begin() as connection:
        held = text("SELECT id FROM bff_webhook_events LIMIT 1 FOR UPDATE")
        await connection.execute(held)
        async with asyncio.timeout(20):
            assert await queue.purge(webhooks._clock() + 1) == 1
    assert await queue.purge(webhooks._clock() + 1) == 1


async def test_a_change_and_the_end_of_an_endpoint(make: Make, receiver: Receiver) -> None:
    """Of two who change one endpoint at once neither undoes what the other did."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    reads = asyncio.Event()
    find = webhooks.endpoints._find

    async def slowly(*args):  # type: ignore[no-untyped-def]
        found = await find(*args)
        if not reads.is_set():
            reads.set()
            await asyncio.sleep(0.2)
        return found

    webhooks.endpoints._find = slowly  # type: ignore[method-assign]
    described = asyncio.create_task(webhooks.endpoints.change("acme", where, {"description": "ours"}))
    await reads.wait()
    await webhooks.endpoints.change("acme", where, {"enabled": False})
    await described
    found = await webhooks.endpoints.find("acme", where)
    assert found is not None
    assert (found.status, found.reason, found.description) == ("disabled", "owner", "ours")


async def test_an_end_while_its_deliveries_are_written_down(make: Make, receiver: Receiver) -> None:
    """Whoever takes an endpoint and its deliveries takes the endpoint first: nobody waits for who waits for them."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    queue = webhooks.dispatcher()._queue
    (lane,) = await queue.turn([], [], healthy=1, failing=1)
    outcome = Outcome(204)
    result = Result(lane, lane.work[0], outcome, decide(outcome, 0, [], 0.5), 0)
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("UPDATE bff_webhook_endpoints SET id = id WHERE id = :id"), {"id": where})
        turn = asyncio.create_task(queue.turn([result], [Release(lane)], healthy=0, failing=0))
        await asyncio.sleep(0.3)
        await connection.execute(
            text("UPDATE bff_webhook_deliveries SET reason = 'x' WHERE endpoint = :id AND state = 'pending'"),
            {"id": where},
        )
    await turn
    assert len(await webhooks.log.page("acme", where, state="delivered", cursor=None, most=9)) == 1


@pytest.mark.parametrize("failed_only", [True, False, None])
async def test_a_replay_while_its_deliveries_are_written_down(
    make: Make, receiver: Receiver, failed_only: bool | None
) -> None:
    """It takes the endpoint first, too."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("UPDATE bff_webhook_deliveries SET state = 'dead'"))
    outbox, until = webhooks.outbox, webhooks._clock() + 10
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("UPDATE bff_webhook_endpoints SET id = id WHERE id = :id"), {"id": where})
        if failed_only is None:
            again = asyncio.create_task(outbox.replay_one(where, event, ordered=False))
        else:
            between = outbox.replay_range(where, 0, until, ordered=False, failed_only=failed_only)
            again = asyncio.create_task(between)
        await asyncio.sleep(0.3)
        assert not again.done()
    assert await again == 1
    assert (await state(webhooks, where, event))[0] == "pending"


async def test_a_rotation_and_the_end_of_an_endpoint(make: Make, receiver: Receiver) -> None:
    """It waits for whoever has the endpoint; of one that is gone no secret is left."""
    webhooks = make()
    await webhooks.prepare()
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
    assert added is not None
    where = added[0]
    async with webhooks.engine.begin() as connection:
        await connection.execute(text("DELETE FROM bff_webhook_endpoints WHERE id = :id"), {"id": where.id})
        rotated = asyncio.create_task(webhooks.endpoints.rotate(where, 0.0))
        await asyncio.sleep(0.3)
        assert not rotated.done()
        await connection.execute(text("DELETE FROM bff_webhook_secrets WHERE endpoint = :id"), {"id": where.id})
    assert await rotated is None
    assert await rows(webhooks, "SELECT id FROM bff_webhook_secrets") == []


async def test_rotations_at_once(make: Make, receiver: Receiver) -> None:
    """Each ends the one before: without grace one secret is left."""
    webhooks = make()
    await webhooks.prepare()
    added = await webhooks.endpoints.add("acme", receiver.url("a"), ["*"], most=9)
    assert added is not None
    await asyncio.gather(*(webhooks.endpoints.rotate(added[0], 0.0) for _ in range(4)))
    assert len(await rows(webhooks, "SELECT id FROM bff_webhook_secrets WHERE ends_at IS NULL")) == 1
