"""A gateway over the model shop, with a clock and a store of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from bff_core import Bff, Settings, Sync, create_bff
from bff_core.testing import bff_client
from tests.users import UserHeader

from .device import Device
from .shop import NotesService, Shop, TagsService, collections, mutations
from .stores import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def make_app(shop: Shop, store: Any, clock: Callable[[], float], **options: Any) -> tuple[Bff, Sync]:
    """A replica of the gateway; ``options`` are those of the collections, and ``keys``, ``limits`` and ``delivery``."""
    keys, limits, delivery = options.pop("keys", ()), options.pop("limits", ()), options.pop("delivery", {})
    policy = {"breaker": {"minimum_calls": 1000}, "retry": {"attempts": 1}}
    settings = Settings(services=shop.settings, policy=policy, delivery=delivery, log_level="CRITICAL")
    app = create_bff(
        "mobile",
        settings=settings,
        clients=[NotesService, TagsService],
        auth=UserHeader(),
        transport=shop.transport,
        limits=limits,
    )
    sync = app.sync("/sync", collections=collections(**options), mutations=mutations(), store=store, keys=keys)
    sync._clock = clock
    return app, sync


@dataclass
class World:
    shop: Shop
    store: MemoryStore
    clock: Clock
    http: httpx.AsyncClient
    sync: Sync

    def device(self, user: str = "u1", **options: Any) -> Device:
        return Device(self.http, user, **options)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    shop, store, clock = Shop(), MemoryStore(), Clock()
    app, sync = make_app(shop, store, clock)
    async with bff_client(app) as http:
        yield World(shop, store, clock, http, sync)
