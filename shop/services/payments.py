"""What was paid."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from ..models import Listing, Money, Payment
from .base import Service, transaction
from .problems import Problem, not_found

__all__ = ["create_app"]


class NewPayment(BaseModel):
    """A payment to authorise."""

    model_config = ConfigDict(extra="forbid")

    order_id: Annotated[str, Field(min_length=1, max_length=64)]
    amount: Money
    method: Annotated[str, Field(pattern="^(card|invoice|wallet)$")] = "card"


def create_app(data: Path, *, faults: bool = False) -> FastAPI:
    """The payments service."""
    app = Service("payments", data, faults=faults)
    db = app.db

    @app.get("/payments")
    async def of_order(order_id: Annotated[str, Query(max_length=64)]) -> Listing[Payment]:
        rows = db.execute("SELECT * FROM payments WHERE order_id = ? ORDER BY seq", (order_id,))
        return Listing(items=[_payment(row) for row in rows])

    @app.get("/payments/{payment_id}")
    async def payment(payment_id: str) -> Payment:
        row = db.execute("SELECT * FROM payments WHERE id = ?", (payment_id,)).fetchone()
        if row is None:
            raise not_found("payment")
        return _payment(row)

    @app.post("/payments", status_code=201)
    async def pay(
        new: NewPayment, idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None
    ) -> Payment:
        if idempotency_key is None:
            raise Problem(400, "Send an Idempotency-Key.")
        with transaction(db):
            row = db.execute("SELECT * FROM payments WHERE key = ?", (idempotency_key,)).fetchone()
            if row is None:
                seq = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM payments").fetchone()[0]
                row = db.execute(
                    "INSERT INTO payments VALUES (?, ?, ?, ?, ?, ?, 'authorized', ?, ?) RETURNING *",
                    (
                        *(seq, f"pay{seq}", new.order_id, new.amount.amount, new.amount.currency, new.method),
                        *(datetime.now(UTC).isoformat(), idempotency_key),
                    ),
                ).fetchone()
            elif (row["order_id"], row["amount"]) != (new.order_id, new.amount.amount):
                raise Problem(422, "This Idempotency-Key was used for another payment.")
        return _payment(row)

    return app


def _payment(row: sqlite3.Row) -> Payment:
    return Payment.model_validate({**dict(row), "amount": Money(amount=row["amount"], currency=row["currency"])})
