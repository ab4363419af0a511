"""Everything at once: shared calls, batches, hedges, caches, own logic, faults and clients that leave, at random."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    BreakerPolicy,
    HedgePolicy,
    Page,
    Policy,
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
from bff_core.testing import bff_client


class Row(BaseModel):
    id: str


class Things(ServiceClient, service="things"):
    @get("/things/{key}")
    async def thing(self, key: str) -> Row: ...

    @get("/things", batch="ids", batch_limit=3, at="items")
    async def things(self, ids: list[str]) -> list[Row]: ...


class Everything(Page):
    thing = required(Things.thing)
    more = optional(Things.things, ids=lambda thing: [thing.id, "a", "b", "c"], fallback=[], stale_for=5)
    again = optional(Things.things, ids=lambda thing: ["c", thing.id], fallback=[])

    @section(optional=True, fallback=[], timeout=0.05)
    async def own(self, thing: Row, things: Things) -> list[Row]:
        return [await things.thing(f"own-{thing.id}"), *await things.things(["x", thing.id])]


def service(chance: random.Random) -> httpx.MockTransport:
    async def answer(request: httpx.Request) -> httpx.Response:
        dice = chance.random()
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004, 0.03]))
        if dice < 0.1:
            return httpx.Response(chance.choice([500, 503, 404, 429]), headers={"retry-after": "0"})
        if dice < 0.15:
            raise chance.choice([httpx.ConnectError, httpx.ReadError, httpx.ReadTimeout])("played")
        if dice < 0.2:
            return httpx.Response(200, text="nonsense")
        headers = {"cache-control": chance.choice(["no-store", "max-age=1", "max-age=0, stale-while-revalidate=1"])}
        ids = request.url.params.get_list("ids")
        if ids:
            return httpx.Response(200, json={"items": [{"id": key} for key in ids]}, headers=headers)
        return httpx.Response(200, json={"id": request.url.path.rpartition("/")[2]}, headers=headers)

    return httpx.MockTransport(answer)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_hangs_and_nothing_stays(seed: int) -> None:
    """Every request ends, as a page or a problem that was to be expected; at rest nothing is held."""
    chance = random.Random(seed)
    policy = Policy(
        timeout=0.05,
        bulkhead=40,
        retry=RetryPolicy(base=0.001, cap=0.002),
        hedge=HedgePolicy(enabled=seed % 2 == 0, delay=0.003),
        breaker=BreakerPolicy(minimum_calls=10, failure_rate=0.6, open_for=0.05),
    )
    settings = Settings(
        services={"things": ServiceSettings(url="http://things.test", policy=policy)},
        log_level="CRITICAL",
        deadline=0.3,
    )
    app = create_bff("chaos", settings=settings, clients=[Things], transport=service(chance))
    app.page("/{key}", Everything, public=True)
    statuses: Counter[object] = Counter()
    async with bff_client(app) as client:
        before = len(asyncio.all_tasks())

        async def one() -> None:
            call = asyncio.create_task(client.get(f"/k{chance.randrange(6)}"))
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() * 0.02)
                call.cancel()
            try:
                answer = await call
            except asyncio.CancelledError:
                statuses["left"] += 1
                return
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                body = answer.json()
                assert {row["id"] for row in body["again"]} <= {"c", body["thing"]["id"]}
                assert set(body.get("_degraded", [])) <= {"more", "again", "own"}

        for _ in range(25):
            await asyncio.wait_for(asyncio.gather(*(one() for _ in range(12))), 10)
        upstream = app.upstreams["things"]
        for _ in range(200):
            if upstream.wire.in_flight == 0 and len(asyncio.all_tasks()) <= before:
                break
            await asyncio.sleep(0.01)
        assert upstream.wire.in_flight == 0
        assert [len(bound.flights) for bound in app.clients[Things].bound.values()] == [0, 0]
        assert len(asyncio.all_tasks()) <= before
    assert set(statuses) <= {200, 404, 502, 503, 504, "left"}
    assert statuses[200]
