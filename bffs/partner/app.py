"""The partner gateway: versioned resources behind API keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bff_core import create_bff
from shop.clients import Catalog, Orders

from .account import KeysPage, UsagePage
from .background import router
from .pages import OrderPage, OrdersPage, ProductPage, ProductsPage
from .parts import keys, settings, usage, webhooks
from .plans import LIMITS
from .portal import portal_route
from .settings import DEMO_KEY
from .versions import VERSIONS
from .writes import CancelOrder, ExportPage, PlaceOrder, StartExport, export_data

__all__ = ["app"]


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[None]:
    if settings.demo is not None:
        await keys.store.keep(DEMO_KEY, "acme", name="the demo's, which everybody knows", plan="gold")
    yield


app = create_bff(
    "partner",
    settings=settings,
    clients=[Catalog, Orders],
    auth=settings.auth(keys),
    versions=VERSIONS,
    limits=LIMITS,
    usage=usage,
    problem_types="/problems/",
    lifespan=lifespan,
)
app.page("/products", ProductsPage)
app.page("/products/{product_id}", ProductPage)
app.page("/orders", OrdersPage)
app.page("/orders", PlaceOrder, method="POST", status=201, idempotency="required")
app.page("/orders/{order_id}", OrderPage)
app.page("/orders/{order_id}/cancel", CancelOrder, method="POST", idempotency="required")
app.page("/exports", StartExport, method="POST", status=202, idempotency="required")
app.page("/exports/{export_id}", ExportPage)
app.page("/usage", UsagePage)
app.page("/keys", KeysPage)
app.get("/exports/{export_id}/data")(export_data)
webhooks.mount(app, dispatchers=settings.dispatchers)
app.include_router(router)
app.router.routes.append(portal_route)
