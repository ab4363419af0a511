"""FastAPI with one httpx.AsyncClient and asyncio.gather, as people write it. CACHE=1: hishel, httpx's cache."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from pydantic import TypeAdapter

from bench.peers.models import Card, Product, ProductView, Review

LIMITS = httpx.Limits(max_connections=128, max_keepalive_connections=128)


def make_client() -> httpx.AsyncClient:
    base_url, timeout = os.environ["UPSTREAM"], 1.0
    if os.environ.get("CACHE"):
        from hishel import AsyncSqliteStorage
        from hishel.httpx import AsyncCacheTransport

        transport = AsyncCacheTransport(
            next_transport=httpx.AsyncHTTPTransport(limits=LIMITS),
            storage=AsyncSqliteStorage(database_path=os.environ["CACHE_FILE"]),
        )
        return httpx.AsyncClient(transport=transport, base_url=base_url, timeout=timeout)
    return httpx.AsyncClient(limits=LIMITS, base_url=base_url, timeout=timeout)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with make_client() as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)
reviews_of, cards_of = TypeAdapter(list[Review]), TypeAdapter(list[Card])


async def get(path: str) -> Any:
    response = await app.state.client.get(path)
    if response.status_code != 200:
        raise HTTPException(502)
    return response.json()


@app.get("/products/{product_id}")
async def product_page(product_id: str) -> ProductView:
    product, reviews, related = await asyncio.gather(
        get(f"/products/{product_id}"), get(f"/products/{product_id}/reviews"), get(f"/products/{product_id}/related")
    )
    return ProductView(
        product=Product.model_validate(product),
        reviews=reviews_of.validate_python(reviews),
        related=cards_of.validate_python(related),
    )
