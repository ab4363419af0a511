"""The shop's services over one seeded set of files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from shop.services import catalog, identity, inventory, notifications, orders, payments, recommendations, reviews, users
from shop.services.ordering import Partners
from tests.shop_data import copied

MODULES = {
    "catalog": catalog,
    "identity": identity,
    "inventory": inventory,
    "notifications": notifications,
    "payments": payments,
    "recommendations": recommendations,
    "reviews": reviews,
    "users": users,
}


@pytest.fixture
def data(seeded: Path, tmp_path: Path) -> Path:
    """A copy of the seeded folder for one test."""
    return copied(seeded, tmp_path / "data")


Ask = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def ask(data: Path) -> AsyncIterator[Ask]:
    """A client for each service, in this process; orders asks the others."""
    async with AsyncExitStack() as stack:
        apps = {name: module.create_app(data, faults=True) for name, module in MODULES.items()}

        def client(name: str) -> httpx.AsyncClient:
            transport = httpx.ASGITransport(apps[name], raise_app_exceptions=False)
            return httpx.AsyncClient(transport=transport, base_url=f"http://{name}.test")

        partners = Partners(client("catalog"), client("inventory"), client("payments"))
        apps["orders"] = orders.create_app(data, faults=True, partners=partners)
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        clients = {name: await stack.enter_async_context(client(name)) for name in apps}
        yield clients.__getitem__
