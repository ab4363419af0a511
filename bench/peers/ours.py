"""The page on bff_core, as shipped: every default in force. CACHE=1: whole pages, for as long as the services allow."""

from __future__ import annotations

import os

from bench.peers.models import Card, Product, Review
from bff_core import Page, ServiceClient, Settings, create_bff, get, optional, required


class Catalog(ServiceClient, service="catalog"):
    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...

    @get("/products/{product_id}/reviews")
    async def reviews(self, product_id: str) -> list[Review]: ...

    @get("/products/{product_id}/related")
    async def related(self, product_id: str) -> list[Card]: ...

    @get("/products/{id}/related")
    async def section(self, id: str, section: int) -> list[Card]: ...


class ProductPage(Page):
    product = required(Catalog.product)
    reviews = optional(Catalog.reviews, fallback=[])
    related = optional(Catalog.related, fallback=[])


def sections_page(count: int) -> type[Page]:
    """A page of ``count`` sections, each a call of its own."""
    members = {f"s{n}": required(Catalog.section, section=n) for n in range(count)}
    return type(f"Sections{count}", (Page,), {**members, "__annotations__": {"id": str}, "__module__": __name__})


settings = Settings.load(services={"catalog": {"url": os.environ["UPSTREAM"]}})
app = create_bff("bench", clients=[Catalog], settings=settings)
app.page("/products/{product_id}", ProductPage, public=True, cache=bool(os.environ.get("CACHE")))
for count in (1, 2, 4, 8, 16, 32):
    app.page(f"/sections/{count}", sections_page(count), public=True)
app.proxy("/files/{kilobytes}", service="catalog", to="/files/{kilobytes}", public=True)
