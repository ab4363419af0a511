"""A small gateway for the tests of the operations port, and traffic through it."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import httpx
from pydantic import BaseModel

from bff_core import (
    ApiKey,
    ApiKeys,
    Bff,
    Page,
    Policy,
    Principal,
    RateLimit,
    RetryPolicy,
    ServiceClient,
    Settings,
    create_bff,
    get,
    optional,
    required,
    section,
)
from bff_core.testing import FakeServices

KEY = "a-key-of-these-tests"


class Product(BaseModel):
    id: str
    name: str = "Lamp"


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...

    @get("/products", batch="ids", batch_limit=2, at="items")
    async def products(self, ids: list[str]) -> list[Product]: ...


class Reviews(ServiceClient, service="reviews"):
    @get("/products/{product_id}/reviews")
    async def of_product(self, product_id: str) -> list[int]: ...


class ProductPage(Page):
    """Three sections."""

    product = required(Catalog.product)
    reviews = optional(Reviews.of_product, fallback=[])

    @section
    async def pair(self, product_id: str, product: Product, catalog: Catalog) -> list[Product]:
        return await catalog.products([product_id, product.id])


class KeptPage(Page):
    """A page that may be kept whole."""

    product = required(Catalog.product)


class MinePage(Page):
    """A private one."""

    seen = optional(Reviews.of_product, product_id=lambda principal: principal.subject, stale_for=60, fallback=[])
    maybe = optional(Reviews.of_product, product_id="p1", when=lambda principal: principal.kind == "user")

    @section
    def who(self, principal: Principal) -> str:
        return principal.subject


def make_gateway(services: FakeServices, **settings: Any) -> Bff:
    """The gateway over played services."""
    app = create_bff(
        "tested",
        settings=Settings(
            services=services.settings, policy=Policy(retry=RetryPolicy(base=0.0001)), log_level="ERROR", **settings
        ),
        clients=[Catalog, Reviews],
        auth=ApiKeys([ApiKey(sha256=hashlib.sha256(KEY.encode()).hexdigest(), partner="acme")]),
        transport=services.transport,
    )
    app.page("/products/{product_id}", ProductPage, public=True)
    app.page("/kept/{product_id}", KeptPage, public=True, cache=True)
    app.page("/mine", MinePage)
    app.page("/limited/{product_id}", KeptPage, public=True, limits=[RateLimit("two", "2/week", key="client_ip")])
    app.proxy("/raw/{product_id}", service="catalog", to="/products/{product_id}", public=True)
    return app


def play() -> FakeServices:
    """Services that answer for any product; reviews of ``broken…`` are a 500."""
    services = FakeServices("catalog", "reviews")

    def one(request: httpx.Request, product_id: str) -> httpx.Response:
        if product_id.startswith("absent"):
            return httpx.Response(404)
        return httpx.Response(200, json={"id": product_id}, headers={"cache-control": "max-age=60"})

    def many(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"items": [{"id": id_} for id_ in request.url.params.get_list("ids")]})

    def reviews(request: httpx.Request, product_id: str) -> httpx.Response:
        return httpx.Response(500) if product_id.startswith("broken") else httpx.Response(200, json=[5])

    services["catalog"].get(path__regex=r"^/products/(?P<product_id>[^/]+)$").mock(side_effect=one)
    services["catalog"].get("/products").mock(side_effect=many)
    services["reviews"].get(path__regex=r"^/products/(?P<product_id>[^/]+)/reviews$").mock(side_effect=reviews)
    return services


async def visit(client: httpx.AsyncClient, product_id: str) -> httpx.Response:
    """One product page, with all that a client could make up."""
    return await client.get(
        f"/products/{product_id}",
        params={"fields": "product,reviews,pair"},
        headers={"x-request-id": f"request-{secrets.token_hex(8)}", "user-agent": f"agent-{secrets.token_hex(8)}"},
    )
