"""What goes together: counted from the orders, not guessed."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from ..models import Listing, Recommendation
from .base import Limit, Service

__all__ = ["create_app"]


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The recommendations service."""
    app = Service("recommendations", data, faults=faults)
    db = app.db

    @app.get("/products/{product_id}/related")
    async def related(product_id: str, limit: Limit = 8) -> Listing[Recommendation]:
        rows = db.execute(
            "SELECT other_id, score FROM related WHERE product_id = ? ORDER BY score DESC, other_id LIMIT ?",
            (product_id, limit),
        )
        return Listing(items=[Recommendation(product_id=other, score=score) for other, score in rows])

    @app.get("/users/{user_id}/recommendations")
    async def for_user(user_id: str, limit: Limit = 8) -> Listing[Recommendation]:
        rows = db.execute(
            "SELECT other_id, sum(score) AS total FROM bought JOIN related USING (product_id)"
            " WHERE user_id = :user AND other_id NOT IN (SELECT product_id FROM bought WHERE user_id = :user)"
            " GROUP BY other_id ORDER BY total DESC, other_id LIMIT :limit",
            {"user": user_id, "limit": limit},
        )
        return Listing(items=[Recommendation(product_id=other, score=score) for other, score in rows])

    return app
