"""FastAPI with pydantic-resolve over httpx: the page is a model whose members resolve themselves. CACHE=1: hishel."""

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic_resolve import Resolver

from bench.peers.fastapi_httpx import get, lifespan
from bench.peers.fastapi_httpx import app as client_app
from bench.peers.models import Card, Product, Review


class Page(BaseModel):
    product_id: str
    product: Product | None = None
    reviews: list[Review] = []
    related: list[Card] = []

    async def resolve_product(self) -> Product:
        return Product.model_validate(await get(f"/products/{self.product_id}"))

    async def resolve_reviews(self) -> list[Review]:
        return [Review.model_validate(entry) for entry in await get(f"/products/{self.product_id}/reviews")]

    async def resolve_related(self) -> list[Card]:
        return [Card.model_validate(entry) for entry in await get(f"/products/{self.product_id}/related")]


app = FastAPI(lifespan=lambda _: lifespan(client_app))


@app.get("/products/{product_id}", response_model=Page, response_model_exclude={"product_id"})
async def product_page(product_id: str) -> Page:
    page: Page = await Resolver().resolve(Page(product_id=product_id))
    return page
