"""What is in stock, and what of it is promised to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from ..models import CartItem, Listing, Stock
from .base import Service, by_ids, transaction
from .problems import Problem, not_found

__all__ = ["create_app"]


class Reservation(BaseModel):
    """Goods set aside under an id; sent again it is the same reservation."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=64)]
    lines: Annotated[list[CartItem], Field(min_length=1, max_length=100)]


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The inventory service."""
    app = Service("inventory", data, faults=faults)
    db = app.db
    select = "SELECT product_id, available, warehouse FROM stock WHERE product_id"

    @app.get("/stock/{product_id}")
    async def stock(product_id: str) -> Stock:
        row = db.execute(f"{select} = ?", (product_id,)).fetchone()
        if row is None:
            raise not_found("product in stock")
        return Stock.model_validate(dict(row))

    @app.get("/stock")
    async def stocks(ids: Annotated[list[str], Query(max_length=100)]) -> Listing[Stock]:
        return Listing(items=[Stock.model_validate(dict(row)) for row in by_ids(db, f"{select} IN ({{marks}})", ids)])

    @app.post("/reservations", status_code=201)
    async def reserve(reservation: Reservation) -> Reservation:
        with transaction(db):
            if db.execute("SELECT 1 FROM reservations WHERE id = ?", (reservation.id,)).fetchone():
                return reservation
            wanted: dict[str, int] = {}
            for line in reservation.lines:
                wanted[line.product_id] = wanted.get(line.product_id, 0) + line.quantity
            for product_id, quantity in wanted.items():
                taken = db.execute(
                    "UPDATE stock SET available = available - :n WHERE product_id = :id AND available >= :n",
                    {"n": quantity, "id": product_id},
                )
                if not taken.rowcount:
                    raise Problem(409, f"There are not {quantity} of product {product_id} in stock.")
                db.execute("INSERT INTO reservations VALUES (?, ?, ?)", (reservation.id, product_id, quantity))
        return reservation

    @app.delete("/reservations/{reservation_id}", status_code=204)
    async def release(reservation_id: str) -> None:
        with transaction(db):
            db.execute(
                "UPDATE stock SET available = available + r.quantity FROM reservations AS r"
                " WHERE r.product_id = stock.product_id AND r.id = ?",
                (reservation_id,),
            )
            db.execute("DELETE FROM reservations WHERE id = ?", (reservation_id,))

    return app
