"""Two replicas of the partner gateway: exactly as much as was booked, and every request on the bill."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from bff_core import Usage

from .replicas import keys_of, replicas

N = 60


@pytest.mark.parametrize("kind", ["valkey", "postgresql", "sqlite"])
async def test_exactly_what_was_booked(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """160 requests at once by two keys of one partner, to two replicas, at a quota of 60: sixty are served; after they
    have stopped, the usage says so."""
    database = f"sqlite:///{tmp_path}/partner.db"
    if kind == "postgresql":
        database = request.getfixturevalue("postgres_url")
    limits = {"BFF_LIMITS_URL": request.getfixturevalue("valkey_url")} if kind == "valkey" else {}
    keys = keys_of(database)
    made = [(await keys.store.issue("acme"))[0] for _ in range(2)]
    await keys.store.plans.put("acme", "internal", {"month": N})
    await keys.aclose()
    with replicas(2, database, tmp_path, **limits) as (one, other):
        async with httpx.AsyncClient(timeout=50, limits=httpx.Limits(max_connections=16)) as client:
            answers = await asyncio.gather(
                *(
                    client.get(f"{(one, other)[number % 2].url}/usage", headers={"x-api-key": made[number // 2 % 2]})
                    for number in range(160)
                )
            )
            statuses = Counter(answer.status_code for answer in answers)
            assert statuses[200] <= N
            if 503 in statuses:  # the store took longer than a second on a busy machine: the rest is refused now
                pytest.skip("the machine is too busy for the quota's store to answer in a second")
        for each in (one, other):
            each.stop()
    assert statuses == {200: N, 429: 160 - N}
    assert all('"month";q=60;w=2592000' in answer.headers["ratelimit-policy"] for answer in answers)
    usage = Usage(database)
    (today,) = await usage.days("acme", 1)
    await usage.aclose()
    assert (today.requests, today.refused) == (N, 160 - N)
