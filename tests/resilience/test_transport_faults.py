"""A page over services that misbehave on real sockets: an answer in time, nothing leaked, and then it works again."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Literal

import httpx
import pytest
from pydantic import BaseModel

from bff_core import (
    Bff,
    BreakerPolicy,
    Page,
    Policy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    required,
)
from bff_core.testing import HostileServer, bff_client, refused_port


class Ok(BaseModel):
    ok: bool


class Hostile(ServiceClient, service="hostile"):
    @get("/{behaviour}")
    async def ask(self, behaviour: str) -> Ok: ...


class AskPage(Page):
    answer = required(Hostile.ask)


@pytest.fixture
async def hostile() -> AsyncIterator[HostileServer]:
    async with HostileServer() as server:
        yield server


@pytest.fixture(params=["httpx", "http1"])
def wire(request: pytest.FixtureRequest) -> Literal["httpx", "http1"]:
    """Both wires."""
    kind: Literal["httpx", "http1"] = request.param
    return kind


def gateway(url: str, wire: Literal["httpx", "http1"], *, timeout: float = 0.2, deadline: float = 0.4) -> Bff:
    policy = Policy(
        timeout=timeout,
        connect_timeout=timeout,
        bulkhead=16,
        max_body=100_000,
        breaker=BreakerPolicy(minimum_calls=10_000),
    )
    settings = Settings(
        services={"hostile": ServiceSettings(url=url, policy=policy)},
        deadline=deadline,
        log_level="CRITICAL",
        wire=wire,
    )
    app = create_bff("test", settings=settings, clients=[Hostile])
    app.page("/{behaviour}", AskPage, public=True)
    return app


STATUS = {
    "ok": 200,
    "close-after": 200,
    "flaky": 200,
    "informational": 200,
    "longer-than-said": 200,
    "two-answers": 200,
    "close": 502,
    "reset": 502,
    "reset-mid-head": 502,
    "reset-mid-body": 502,
    "close-mid-body": 502,
    "close-mid-chunk": 502,
    "half-close": 502,
    "garbage": 502,
    "two-lengths": 502,
    "length-and-chunked": 502,
    "negative-length": 502,
    "head-bomb": 502,
    "informational-storm": 502,
    "huge": 502,
    "endless": 502,
    "not-json": 502,
    "truncated-json": 502,
    "bad-gzip": 502,
    "error": 502,
    "unavailable": 503,
    "never": 504,
    "late": 504,
    "trickle": 504,
}


async def settled(app: Bff, hostile: HostileServer | None = None) -> None:
    """Everything given back; polls, because the last byte of an abandoned call may still be on its way."""
    if hostile is not None:
        hostile.release.set()
    upstream = app.upstreams["hostile"]
    for _ in range(300):
        if upstream.wire.in_flight == 0:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{upstream.wire.in_flight} exchanges are still in flight")


def test_every_behaviour_is_expected() -> None:
    """The table below is complete."""
    assert sorted(STATUS) == HostileServer().behaviours


@pytest.mark.parametrize("behaviour", sorted(STATUS))
async def test_fault(hostile: HostileServer, wire: Literal["httpx", "http1"], behaviour: str) -> None:
    """Each fault has its answer; the next healthy call works, and nothing is in use any more."""
    times = {"timeout": 0.6, "deadline": 1.2} if STATUS[behaviour] == 504 else {"timeout": 5, "deadline": 10}
    app = gateway(hostile.url, wire, **times)
    async with bff_client(app) as client:
        answer = await client.get(f"/{behaviour}")
        assert answer.status_code == STATUS[behaviour], answer.text
        if STATUS[behaviour] == 200:
            assert answer.json() == {"answer": {"ok": True}}
        assert (await client.get("/ok")).json() == {"answer": {"ok": True}}
        await settled(app, hostile)


async def test_refused(wire: Literal["httpx", "http1"]) -> None:
    """Nobody listens: one retry, then 503."""
    app = gateway(f"http://127.0.0.1:{refused_port()}", wire)
    async with bff_client(app) as client:
        answer = await client.get("/ok")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        await settled(app)


async def test_deadline_storm(hostile: HostileServer, wire: Literal["httpx", "http1"]) -> None:
    """Many calls that run into their deadline at once leave nothing behind."""
    app = gateway(hostile.url, wire, timeout=1.0, deadline=1.0)
    async with bff_client(app) as client:
        answers = await asyncio.gather(*(client.get("/never") for _ in range(16)))
        assert {answer.status_code for answer in answers} == {504}
        await settled(app, hostile)
        assert (await client.get("/ok")).status_code == 200


async def test_a_thousand_cycles_leak_nothing(hostile: HostileServer, wire: Literal["httpx", "http1"]) -> None:
    """Faults, cancellations and successes in turn: no task, connection or permit stays."""
    app = gateway(hostile.url, wire, timeout=5, deadline=5)
    behaviours = ["ok", "reset", "close-mid-body", "not-json", "error", "close-after", "garbage", "two-answers"]
    async with bff_client(app) as client:
        await client.get("/ok")
        before = len(asyncio.all_tasks())
        for round_ in range(125):
            calls = [asyncio.create_task(client.get(f"/{behaviour}")) for behaviour in behaviours]
            if round_ % 3 == 0:
                for call in calls[round_ % 8 :: 2]:
                    await asyncio.sleep(0)
                    call.cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(result, (httpx.Response, asyncio.CancelledError)) for result in results)
        await settled(app, hostile)
        breaker = app.upstreams["hostile"].breaker
        assert breaker.state == "closed"
        assert (await client.get("/ok")).status_code == 200
        gc.collect()
        for _ in range(100):
            if len(asyncio.all_tasks()) <= before + hostile.open:
                break
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) <= before + hostile.open
