"""What the gateway does that no request waits for: it reads the shop's events, and makes exports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter

from bff_core import Bff
from shop.clients import Orders

from .events import OrderFeed
from .exports import ExportWorker
from .parts import exports, webhooks
from .schema import prepare

__all__ = ["router"]

EVERY = 0.5


@asynccontextmanager
async def lifespan(app: Bff) -> AsyncIterator[None]:
    """Runs within that of the webhooks, whose database it uses."""
    await prepare(webhooks.engine)
    orders = app.clients[Orders]
    assert isinstance(orders, Orders)  # noqa: S101 - as it was declared
    work = (OrderFeed(webhooks, orders, every=EVERY).run(), ExportWorker(exports, orders).run())
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


router = APIRouter(lifespan=lifespan)
