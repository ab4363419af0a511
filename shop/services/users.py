"""Who the customers are."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response

from ..models import Listing, User
from .base import Cursor, Ids, Limit, Service, by_ids, decode_cursor, json_listing
from .problems import not_found

__all__ = ["create_app"]


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The users service."""
    app = Service("users", data, faults=faults)
    db = app.db

    @app.get("/users", response_model=Listing[User])
    async def users(ids: Ids = None, cursor: Cursor = None, limit: Limit = 20) -> Response:
        if ids is not None:
            rows = by_ids(db, "SELECT id, seq, document FROM users WHERE id IN ({marks})", ids)
            return json_listing(rows, len(rows) or 1)
        rows = db.execute(
            "SELECT seq, document FROM users WHERE seq > ? ORDER BY seq LIMIT ?", (decode_cursor(cursor, 0), limit + 1)
        ).fetchall()
        return json_listing(rows, limit)

    @app.get("/users/{user_id}", response_model=User)
    async def user(user_id: str) -> Response:
        row = db.execute("SELECT document FROM users WHERE id = ?", (user_id,)).fetchone()
        if row is None:
            raise not_found("user")
        return Response(row["document"], media_type="application/json")

    return app
