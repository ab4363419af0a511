"""Exports that are interrupted, fought over and read; on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bff_core import ConnectFailed, Settings, create_bff
from bff_core.stores import sql_engine
from bffs.partner.exports import KEPT, LEASE, MOST, TRIED, Export, ExportStore, ExportWorker
from bffs.partner.schema import prepare
from shop.clients import Orders
from tests.shop.conftest import Ask


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[ExportStore]:
    url = f"sqlite:///{tmp_path}/partner.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    engine = sql_engine(url)
    await prepare(engine)
    yield ExportStore(engine, clock)
    await engine.dispose()


@pytest.fixture
def orders(ask: Ask) -> Orders:
    services = {"services": {"orders": {"url": "http://orders.test"}}}
    app = create_bff("t", settings=Settings.load(**services), clients=[Orders], transport=ask("orders")._transport)
    client = app.clients[Orders]
    assert isinstance(client, Orders)
    return client


async def content(store: ExportStore, export: Export) -> list[str]:
    found = await store.find(export.tenant, export.id)
    assert found is not None
    assert found.state == "done"
    lines = b"".join([part async for part in store.lines(found)]).decode().splitlines()
    assert len(lines) == found.rows
    return lines


async def added(store: ExportStore, version: str = "2026-05-01", tenant: str = "acme") -> Export:
    export = await store.add(tenant, version)
    assert export is not None
    return export


async def test_a_restart_goes_on_where_it_was(store: ExportStore, orders: Orders, clock: Clock) -> None:
    """Killed in the middle, it is taken up when its lease is over: every order once, the pages made are not asked for
    again."""
    export = await added(store)
    claimed = await store.claim()
    assert claimed is not None
    assert await store.claim() is None
    asked: list[str | None] = []

    page = orders.of_partner

    async def watched(partner_id: str, cursor: str | None = None, limit: int = 20) -> object:
        asked.append(cursor)
        if len(asked) == 2:
            raise asyncio.CancelledError
        return await page(partner_id, cursor, limit)

    orders.of_partner = watched  # type: ignore[method-assign, assignment]
    worker = ExportWorker(store, orders)
    with pytest.raises(asyncio.CancelledError):
        await worker.make(claimed)
    clock.now += LEASE + 1
    again = await store.claim()
    assert again is not None
    assert (again.id, again.parts) == (export.id, 1)
    await worker.make(again)
    assert asked[1] == asked[2] != asked[0]
    assert len(set(asked)) == len(asked) - 1
    ids = [json.loads(line)["id"] for line in await content(store, export)]
    assert len(ids) == len(set(ids)) > 300


async def test_two_who_make_the_same(store: ExportStore, orders: Orders, clock: Clock) -> None:
    """One whose lease ran out while it stood still does no harm."""
    export = await added(store, "2024-11-01")
    one = await store.claim()
    clock.now += LEASE + 1
    other = await store.claim()
    assert one is not None
    assert other is not None
    worker = ExportWorker(store, orders)
    await asyncio.gather(worker.make(one), worker.make(other))
    left = await store.find("acme", export.id)
    assert left is not None
    if left.state == "pending":  # each has lost a race once
        await worker.make(left)
    lines = [json.loads(line) for line in await content(store, export)]
    assert len({line["id"] for line in lines}) == len(lines)
    assert set(lines[0]) == {"id", "status", "total", "currency", "lines"}


async def test_whose_and_how_many(store: ExportStore, clock: Clock) -> None:
    """Another's is not there; five at a time; after a week they are gone."""
    export = await added(store)
    assert await store.find("globex", export.id) is None
    for _ in range(MOST - 1):
        await added(store)
    assert await store.add("acme", "2026-05-01") is None
    await added(store, tenant="globex")
    clock.now += KEPT + 1
    await store.sweep()
    assert await store.find("acme", export.id) is None
    assert await store.claim() is None


async def test_an_export_that_is_swept_while_it_is_read(store: ExportStore, clock: Clock) -> None:
    """Whoever reads it does not take what they have for the whole."""
    await added(store)
    for following in ("next", None):
        clock.now += LEASE + 1
        claimed = await store.claim()
        assert claimed is not None
        assert await store.step(claimed, ["{}"], following)
    export = await store.find("acme", claimed.id)
    assert export is not None
    parts = store.lines(export)
    assert await anext(parts) == b"{}\n"
    clock.now += KEPT + 1
    await store.sweep()
    with pytest.raises(LookupError):
        await anext(parts)


async def test_no_more_than_five_at_once(store: ExportStore) -> None:
    """However many are asked for at the same time."""
    await asyncio.gather(*(added(store, tenant="globex") for _ in range(MOST)))  # as many connections are there
    made = await asyncio.gather(*(store.add("acme", "2026-05-01") for _ in range(30)))
    assert sum(one is not None for one in made) == MOST


async def test_one_that_cannot_be_made_ends(store: ExportStore, clock: Clock) -> None:
    """After a day it says so, and is in nobody's way: neither another export's nor the next try's."""
    export = await added(store)
    for _ in range(MOST - 1):
        await added(store)
    clock.now += TRIED / 2
    while await store.claim() is not None:
        pass  # and they fail
    clock.now += TRIED / 2 + 1
    late = await added(store, tenant="globex")
    await store.sweep()
    failed = await store.find("acme", export.id)
    assert failed is not None
    assert (failed.state, failed.ended_at) == ("failed", clock.now)
    claimed = await store.claim()
    assert claimed is not None
    assert claimed.id == late.id
    assert await store.step(failed, ["{}"], None) is False
    await added(store)


@pytest.mark.parametrize("begun", [True, False])
async def test_one_that_nobody_could_try(store: ExportStore, orders: Orders, clock: Clock, begun: bool) -> None:
    """The gateway was away over the weekend: it is made on Monday."""
    export = await added(store)
    if begun:
        await store.claim()
    clock.now += 3 * TRIED
    await store.sweep()
    claimed = await store.claim()
    assert claimed is not None
    assert claimed.id == export.id
    await ExportWorker(store, orders).make(claimed)
    assert await content(store, export)


class Away:
    """A service that is not there; it says whose orders it was asked for."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def of_partner(self, partner_id: str, *_: object) -> object:
        self.asked.put_nowait(partner_id)
        raise ConnectFailed("the service is away")


@pytest.mark.parametrize("swept", [True, False])
async def test_what_cannot_be_made_is_swept_and_what_cannot_be_swept_is_made(
    store: ExportStore, clock: Clock, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    """Sweeping comes first: before it, what is a day old is the first to be taken up; and it hinders nobody."""
    await added(store)
    clock.now += TRIED / 2
    assert await store.claim() is not None
    clock.now += TRIED / 2 + 1
    await added(store, tenant="globex")

    async def fails() -> None:
        raise OSError

    if not swept:
        monkeypatch.setattr(store, "sweep", fails)
    away = Away()
    task = asyncio.create_task(ExportWorker(store, away).run())  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(10):
            assert await away.asked.get() == ("globex" if swept else "acme")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
