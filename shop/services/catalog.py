"""What the shop sells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.responses import Response

from ..models import Category, Listing, Product
from .base import Cursor, Ids, Limit, Service, by_ids, decode_cursor, json_listing
from .problems import not_found

__all__ = ["create_app"]


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The catalog service."""
    app = Service("catalog", data, faults=faults)
    db = app.db

    @app.get("/products", response_model=Listing[Product])
    async def products(
        ids: Ids = None,
        cursor: Cursor = None,
        limit: Limit = 20,
        category: Annotated[str | None, Query(max_length=64)] = None,
        q: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        if ids is not None:
            rows = by_ids(db, "SELECT id, seq, document FROM products WHERE id IN ({marks})", ids)
            return json_listing(rows, len(rows) or 1)
        sql, values = "SELECT seq, document FROM products WHERE seq > ?", [str(decode_cursor(cursor, 0))]
        if category is not None:
            sql += " AND category = ?"
            values.append(category)
        if q is not None:
            escaped = q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            sql += " AND (name LIKE ? ESCAPE '\\' OR brand LIKE ? ESCAPE '\\' OR category LIKE ? ESCAPE '\\')"
            values += [f"%{escaped}%"] * 3
        rows = db.execute(f"{sql} ORDER BY seq LIMIT ?", (*values, limit + 1)).fetchall()
        return json_listing(rows, limit)

    @app.get("/products/{product_id}", response_model=Product)
    async def product(product_id: str) -> Response:
        row = db.execute("SELECT document FROM products WHERE id = ?", (product_id,)).fetchone()
        if row is None:
            raise not_found("product")
        return Response(row["document"], media_type="application/json")

    @app.get("/categories")
    async def categories() -> Listing[Category]:
        rows = db.execute("SELECT category, count(*) FROM products GROUP BY category ORDER BY category")
        return Listing(items=[Category(id=name, name=name.title(), products=count) for name, count in rows])

    return app
