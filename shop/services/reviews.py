"""What customers say."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ..models import Listing, Review, ReviewListing, ReviewSummary
from .base import Cursor, Limit, Service, decode_cursor, json_listing, transaction

__all__ = ["create_app"]

FAR = 2**62


class NewReview(BaseModel):
    """A review as it is sent in."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[str, Field(min_length=1, max_length=64)]
    author: Annotated[str, Field(min_length=1, max_length=100)]
    rating: Annotated[int, Field(ge=1, le=5)]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=5000)] = ""


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The reviews service."""
    app = Service("reviews", data, faults=faults)
    db = app.db

    @app.get("/products/{product_id}/reviews", response_model=ReviewListing)
    async def of_product(product_id: str, cursor: Cursor = None, limit: Limit = 20) -> Response:
        rows = db.execute(
            "SELECT seq, document FROM reviews WHERE product_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?",
            (product_id, decode_cursor(cursor, FAR), limit + 1),
        ).fetchall()
        return json_listing(rows, limit, summary=_summaries(db, [product_id])[0].model_dump_json())

    @app.post("/products/{product_id}/reviews", status_code=201)
    async def add(product_id: str, new: NewReview) -> Review:
        with transaction(db):
            seq = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM reviews").fetchone()[0]
            review = Review(id=f"r{seq}", product_id=product_id, created_at=datetime.now(UTC), **new.model_dump())
            db.execute(
                "INSERT INTO reviews VALUES (?, ?, ?, ?, ?)",
                (seq, review.id, product_id, review.rating, review.model_dump_json()),
            )
        return review

    @app.get("/products/{product_id}/summary")
    async def summary(product_id: str) -> ReviewSummary:
        return _summaries(db, [product_id])[0]

    @app.get("/summaries")
    async def summaries(ids: Annotated[list[str], Query(max_length=100)]) -> Listing[ReviewSummary]:
        return Listing(items=_summaries(db, ids))

    return app


def _summaries(db: sqlite3.Connection, ids: Sequence[str]) -> list[ReviewSummary]:
    histograms = {key: [0] * 5 for key in ids}
    marks = ", ".join("?" * len(ids))
    for key, rating, count in db.execute(
        f"SELECT product_id, rating, count(*) FROM reviews WHERE product_id IN ({marks}) GROUP BY 1, 2",  # noqa: S608
        list(ids),
    ):
        histograms[key][rating - 1] = count
    return [_summary(key, histogram) for key, histogram in histograms.items()]


def _summary(key: str, histogram: list[int]) -> ReviewSummary:
    count = sum(histogram)
    stars = sum(number * (at + 1) for at, number in enumerate(histogram))
    return ReviewSummary(
        product_id=key, count=count, average=round(stars / count, 2) if count else None, histogram=histogram
    )
