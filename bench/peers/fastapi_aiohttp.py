"""FastAPI with one aiohttp.ClientSession and asyncio.gather. CACHE=1: aiocache in memory around each call."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI, HTTPException
from pydantic import TypeAdapter

from bench.peers.models import Card, Product, ProductView, Review


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=128)
    timeout = aiohttp.ClientTimeout(total=1.0)
    async with aiohttp.ClientSession(os.environ["UPSTREAM"], connector=connector, timeout=timeout) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)
reviews_of, cards_of = TypeAdapter(list[Review]), TypeAdapter(list[Card])


async def get(path: str) -> Any:
    async with app.state.client.get(path) as response:
        if response.status != 200:
            raise HTTPException(502)
        return await response.json()


if os.environ.get("CACHE"):
    from aiocache import cached

    get = cached(ttl=300)(get)


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


@app.get("/sections/{count}")
async def sections(count: int, id: str) -> dict[str, list[Card]]:
    parts = await asyncio.gather(*(get(f"/products/{id}/related?section={n}") for n in range(count)))
    return {f"s{n}": cards_of.validate_python(part) for n, part in enumerate(parts)}
