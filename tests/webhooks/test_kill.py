"""What is killed loses nothing: dispatchers at any moment, the database's server, whoever writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from bff_core.webhooks import Webhooks
from tests.servers import PostgresProcess

from .conftest import Clock, Make, endpoint, state
from .conftest import Order as Told
from .fleet import Fleet, Order, build
from .receiver import Got, Receiver

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]  # processes start slowly on a busy machine

# An endpoint whose dispatcher was killed has another after 1 + 2 * 0.25 seconds.
QUICK: dict[str, Any] = {"timeout": 1.0, "turn": 0.25, "poll": 0.05, "schedule": [0.1] * 10, "batch": 10}


@pytest.fixture
def postgres() -> Iterator[PostgresProcess]:
    """One that may be killed."""
    server = PostgresProcess()
    yield server
    server.close()


@pytest.fixture
async def store(database: str) -> AsyncIterator[tuple[Webhooks, dict[str, Any]]]:
    settings = {**QUICK, "url": database}
    webhooks = build(settings)
    await webhooks.prepare()
    yield webhooks, settings
    await webhooks.aclose()


async def unsettled(webhooks: Webhooks) -> int:
    async with webhooks.engine.connect() as connection:
        left = text("SELECT count(*) FROM bff_webhook_deliveries WHERE state <> 'delivered'")
        return int((await connection.execute(left)).scalar_one())


async def settled(webhooks: Webhooks) -> None:
    while await unsettled(webhooks):
        await asyncio.sleep(0.05)


async def test_killed_before_the_post(make: Make, receiver: Receiver, clock: Clock) -> None:
    """A dispatcher takes a lane and is no more: when the lease is over, another delivers."""
    webhooks = make()
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"))
    event = await webhooks.publish("order.updated", Told(id="o1"), to="acme")
    killed = webhooks.dispatcher()
    lanes = await killed._queue.turn([], [], healthy=8, failing=8)
    assert [due.event for due in lanes[0].work] == [event]
    clock.now += 24.9
    await webhooks.dispatcher().drain()
    assert not receiver.got["a"]
    clock.now += 0.2
    await webhooks.dispatcher().drain()
    assert receiver.ids("a") == [event]


@pytest.mark.parametrize(("other", "now"), [(204, "delivered"), (500, "pending")])
async def test_one_who_comes_late_changes_nothing(
    make: Make, receiver: Receiver, clock: Clock, other: int, now: str
) -> None:
    """What it did counts only while nobody else has done it since; the lane is not its own any more."""
    webhooks = make()
    await webhooks.prepare()
    where = await endpoint(webhooks, receiver.url("a"))
    event = await webhooks.publish("order.updated", Told(id="o1"), to="acme")
    late = webhooks.dispatcher()
    (lane,) = await late._queue.turn([], [], healthy=8, failing=8)
    receiver.behave["a"] = lambda _: (410, b"")
    late._start(lane)
    await asyncio.wait(late._running)
    clock.now += 26
    receiver.behave["a"] = lambda _: (other, b"")
    await webhooks.dispatcher().drain()
    assert await state(webhooks, where, event) == (now, 1)
    clock.now += 1
    second = await webhooks.publish("order.updated", Told(id="o2"), to="acme")
    (taken,) = await webhooks.dispatcher()._queue.turn([], [], healthy=8, failing=8)
    await late._turn()
    assert await state(webhooks, where, event) == (now, 1)
    assert await state(webhooks, where, second) == ("pending", 0)
    async with webhooks.engine.connect() as connection:
        row = (await connection.execute(text("SELECT status, lease FROM bff_webhook_endpoints"))).one()
    assert tuple(row) == ("enabled", taken.lease)


async def test_two_never_have_the_same_lane(make: Make, receiver: Receiver) -> None:
    webhooks = make()
    await webhooks.prepare()
    for n in range(40):
        await endpoint(webhooks, receiver.url(f"{n}"))
    await webhooks.publish("order.updated", Told(id="o1"), to="acme")
    queues = [webhooks.dispatcher()._queue for _ in range(8)]
    taken = await asyncio.gather(*(queue.turn([], [], healthy=8, failing=8) for queue in queues))
    lanes = [lane.endpoint for lanes in taken for lane in lanes]
    while rest := await queues[0].turn([], [], healthy=8, failing=8):
        lanes += [lane.endpoint for lane in rest]
    assert len(lanes) == len(set(lanes)) == 40


async def test_a_lane_is_given_back_at_its_end(make: Make, receiver: Receiver) -> None:
    """Also when turns were taken while it ran; the next to have something is served at once."""
    webhooks = make()
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"))
    release = asyncio.Event()

    async def hang(_: Got) -> tuple[int, bytes]:
        await release.wait()
        return 204, b""

    receiver.behave["a"] = hang
    await webhooks.publish("order.updated", Told(id="o1"), to="acme")
    dispatcher = webhooks.dispatcher()
    await dispatcher._turn()
    while not receiver.got["a"]:
        await asyncio.sleep(0.005)
    await dispatcher._turn()
    release.set()
    await asyncio.wait(dispatcher._running)
    await dispatcher._turn()
    second = await webhooks.publish("order.updated", Told(id="o2"), to="acme")
    await webhooks.dispatcher().drain()
    assert receiver.ids("a")[1:] == [second]


@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
async def test_killed_after_the_post(store: Any, receiver: Receiver, when: str) -> None:
    """Told again, under the same id."""
    webhooks, settings = store
    await endpoint(webhooks, receiver.url("a"))
    fleet = Fleet(1, settings)

    async def answer(_: Got) -> tuple[int, bytes]:
        if len(receiver.got["a"]) == 1:
            if when == "after the answer":
                asyncio.get_running_loop().call_soon(fleet.kill, 0)
            else:
                fleet.kill(0)
        return 204, b""

    receiver.behave["a"] = answer
    event = await webhooks.publish("order.updated", Order(id="o1"), to="acme")
    try:
        await settled(webhooks)
    finally:
        assert fleet.close() == [0]
    assert set(receiver.ids("a")) == {event}
    assert len(receiver.got["a"]) == 2 or when == "after the answer"


async def test_killed_at_random_under_load(store: Any, receiver: Receiver) -> None:
    """Every event arrives at every endpoint, each under one id; nothing is left over."""
    webhooks, settings = store
    paths = ["a", "b", "flapping", "slow"]
    for path in paths:
        await endpoint(webhooks, receiver.url(path))
    receiver.behave["flapping"] = lambda _: (500 if len(receiver.got["flapping"]) % 3 == 0 else 200, b"")

    async def slow(_: Got) -> tuple[int, bytes]:
        await asyncio.sleep(0.02)
        return 204, b""

    receiver.behave["slow"] = slow
    fleet = Fleet(2, settings)
    events = []
    try:
        while not receiver.got:
            events.append(await webhooks.publish("order.updated", Order(id="first"), to="acme"))
            await asyncio.sleep(0.1)
        for batch in range(3):
            async with webhooks.engine.begin() as connection:
                for n in range(100):
                    order = Order(id=f"{batch}-{n}")
                    events.append(await webhooks.publish("order.updated", order, to="acme", connection=connection))
            await asyncio.sleep(0.15)
            fleet.kill()
            # until somebody is at work again, so that the next is killed at work too
            seen = sum(len(got) for got in receiver.got.values())
            while sum(len(got) for got in receiver.got.values()) == seen and await unsettled(webhooks):
                await asyncio.sleep(0.01)
        await settled(webhooks)
    finally:
        assert fleet.close() == [0, 0]
    for path in paths:
        assert set(receiver.ids(path)) == set(events), path


async def test_the_databases_server_is_killed(postgres: PostgresProcess, receiver: Receiver) -> None:
    """A write during the outage fails; what was written before is told after."""
    settings = {**QUICK, "url": postgres.url}
    webhooks = build(settings)
    await webhooks.prepare()
    await endpoint(webhooks, receiver.url("a"))
    running = webhooks.dispatcher()
    task = asyncio.create_task(running.run())
    events = [await webhooks.publish("order.updated", Order(id=f"{n}"), to="acme") for n in range(50)]
    postgres.kill()
    failed = 0
    try:
        await webhooks.publish("order.updated", Order(id="lost"), to="acme")
    except Exception:  # noqa: BLE001 - whatever the driver raises
        failed = 1
    assert failed
    await asyncio.sleep(0.2)
    assert not task.done()
    postgres.restart()
    events.append(await webhooks.publish("order.updated", Order(id="after"), to="acme"))
    await settled(webhooks)
    assert set(receiver.ids("a")) == set(events)
    running.stop()
    await task
    await webhooks.aclose()


async def test_a_dispatcher_that_is_stopped_finishes_what_it_began(store: Any, receiver: Receiver) -> None:
    """SIGTERM: no attempt is cut off, none is made twice."""
    webhooks, settings = store
    await endpoint(webhooks, receiver.url("a"))
    fleet = Fleet(1, {**settings, "timeout": 10, "concurrency": 2})
    release = asyncio.Event()

    async def hang(_: Got) -> tuple[int, bytes]:
        await release.wait()
        return 204, b""

    receiver.behave["a"] = hang
    for n in range(5):
        await webhooks.publish("order.updated", Order(id=f"{n}"), to="acme")
    while len(receiver.got["a"]) < 2:
        await asyncio.sleep(0.01)
    closing = asyncio.get_running_loop().run_in_executor(None, fleet.close)
    await asyncio.sleep(0.2)
    release.set()
    assert await closing == [0]
    assert len(receiver.got["a"]) == 2
    assert await unsettled(webhooks) == 3
