"""Orders as they are kept, the keys of writes, and the outbox of what happened to orders."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Literal

from ..models import Money, Order, OrderEvent, OrderLine
from .problems import Problem

__all__ = ["drop_events", "first_time", "prepare_writes", "read_events", "read_orders", "tell"]


def prepare_writes(db: sqlite3.Connection) -> None:
    """Make place for the keys of writes, where an older version of the shop left none."""
    db.execute(
        "CREATE TABLE IF NOT EXISTS writes"
        " (user_id TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (user_id, key))"
        " WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE IF NOT EXISTS events"
        " (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL)"
    )


def tell(db: sqlite3.Connection, kind: Literal["order.created", "order.updated"], order_id: str) -> None:
    """Write down what happened to an order, in its transaction. Partners' orders only: nobody else is told."""
    (order,) = read_orders(db, db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchall())
    if order.partner_id is not None:
        event = OrderEvent(id=f"evt_{secrets.token_hex(12)}", type=kind, order=order)
        db.execute("INSERT INTO events (id, document) VALUES (?, ?)", (event.id, event.model_dump_json()))


def read_events(db: sqlite3.Connection, after: int, limit: int) -> tuple[list[OrderEvent], int]:
    """The events after a number, and the number of the last of them."""
    rows = db.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)).fetchall()
    return [OrderEvent.model_validate_json(row["document"]) for row in rows], rows[-1]["seq"] if rows else after


def drop_events(db: sqlite3.Connection, last: int) -> None:
    """Empty the outbox up to that number, which is not given again."""
    db.execute("DELETE FROM events WHERE seq <= ?", (last,))


def first_time(db: sqlite3.Connection, user_id: str, key: str | None, *request: object) -> bool:
    """Whether a write with this Idempotency-Key is new; to be asked in its transaction. A 422 problem when the key was
    used for another."""
    if key is None:
        return True
    fingerprint = hashlib.sha256(repr(request).encode()).hexdigest()
    row = db.execute("SELECT fingerprint FROM writes WHERE user_id = ? AND key = ?", (user_id, key)).fetchone()
    if row is None:
        db.execute("INSERT INTO writes VALUES (?, ?, ?)", (user_id, key, fingerprint))
        return True
    if row["fingerprint"] != fingerprint:
        raise Problem(422, "This Idempotency-Key was used for another request.")
    return False


def read_orders(db: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Order]:
    """The orders of these rows with their lines, which are read in one query."""
    marks = ", ".join("?" * len(rows))
    lines: dict[str, list[OrderLine]] = {row["id"]: [] for row in rows}
    for line in db.execute(
        f"SELECT * FROM lines WHERE order_id IN ({marks}) ORDER BY order_id, number",  # noqa: S608 - only marks
        list(lines),
    ):
        lines[line["order_id"]].append(
            OrderLine(
                product_id=line["product_id"],
                name=line["name"],
                quantity=line["quantity"],
                unit_price=Money(amount=line["price"], currency=line["currency"]),
            )
        )
    return [
        Order(
            id=row["id"],
            user_id=row["user_id"],
            partner_id=row["partner_id"],
            status=row["status"],
            lines=lines[row["id"]],
            total=Money(amount=row["total"], currency=row["currency"]),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )
        for row in rows
    ]
