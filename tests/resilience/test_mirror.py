"""Circuits in a shared store: seen there, and never in a call's way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel
from valkey.asyncio import Valkey

from bff_core import (
    BreakerPolicy,
    Page,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    required,
)
from bff_core.resilience import mirror
from bff_core.testing import FakeServices, bff_client
from tests.cache.test_valkey import Server


class Ok(BaseModel):
    ok: bool


class Things(ServiceClient, service="things"):
    @get("/{key}")
    async def ask(self, key: str) -> Ok: ...


class Ask(Page):
    answer = required(Things.ask)


async def mirrored(server: Server) -> dict[str, Any]:
    client = Valkey.from_url(server.url)
    try:
        for _ in range(1000):
            keys = [key async for key in client.scan_iter("bff:t:circuits:*")]
            if keys:
                assert 0 < await client.ttl(keys[0]) <= 60
                states: dict[str, Any] = json.loads(await client.get(keys[0]))
                return states
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was written")
    finally:
        await client.aclose()


async def test_an_open_circuit_is_seen_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written in the background; a store that is gone changes nothing for the calls, and is written to again."""
    monkeypatch.setattr(mirror, "TIMEOUT", 10.0)  # a busy machine may need longer
    services = FakeServices("things")
    services["things"].get(path__regex=".*").respond(500)
    policy = Policy(retry=RetryPolicy(attempts=1), breaker=BreakerPolicy(minimum_calls=5))
    server = Server()
    try:
        settings = Settings(
            services={"things": ServiceSettings(**services.settings["things"], policy=policy)},
            log_level="CRITICAL",
            cache_url=server.url,
        )
        app = create_bff("t", settings=settings, clients=[Things], transport=services.transport)
        app.page("/{key}", Ask, public=True)
        async with bff_client(app) as client:
            for number in range(5):
                assert (await client.get(f"/{number}")).status_code == 502
            assert (await mirrored(server))["things"]["state"] == "open"
            server.kill()
            assert (await client.get("/x")).status_code == 503
            server.restart()
            app.upstreams["things"].breaker.admit(float("inf"))
            assert (await mirrored(server))["things"]["state"] == "half-open"
    finally:
        server.close()
