"""Orders and carts. Totals, price snapshots and stock rules are this service's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Query
from starlette.responses import Response

from ..models import Cart, CartItem, CartQuantity, Listing, Order, OrderEvents, OrderRequest, OrderStatus
from .base import Cursor, Limit, Service, decode_cursor, encode_cursor
from .order_rows import drop_events, prepare_writes, read_events, read_orders
from .ordering import CartStore, Checkout, Partners, cancel_order
from .problems import Problem, not_found

__all__ = ["create_app"]

FAR = 2**62
UNKNOWN = 422
Key = Annotated[str | None, Header(min_length=1, max_length=255)]
Id = Annotated[str | None, Query(max_length=64)]


def create_app(data: Path, *, faults: bool = False, partners: Partners | None = None) -> FastAPI:
    """The orders service; ``partners`` are the services it asks in turn."""
    app = Service("orders", data, faults=faults)
    db = app.db
    prepare_writes(db)
    partners = partners or Partners.from_environment()
    app.closers.append(partners.aclose)
    carts = CartStore(db)
    checkout = Checkout(db, carts, partners)

    @app.get("/orders")
    async def orders(
        user_id: Id = None,
        partner_id: Id = None,
        status: OrderStatus | None = None,
        cursor: Cursor = None,
        limit: Limit = 20,
    ) -> Listing[Order]:
        if user_id is None and partner_id is None:
            raise Problem(422, "Say whose orders: user_id or partner_id.")
        filters = {"user_id": user_id, "partner_id": partner_id, "status": status}
        given = {name: value for name, value in filters.items() if value is not None}
        where = "".join(f" AND {name} = ?" for name in given)
        rows = db.execute(
            f"SELECT * FROM orders WHERE seq < ?{where} ORDER BY seq DESC LIMIT ?",  # noqa: S608 - our own names
            (decode_cursor(cursor, FAR), *given.values(), limit + 1),
        ).fetchall()
        more = encode_cursor(rows[limit - 1]["seq"]) if len(rows) > limit else None
        return Listing(items=read_orders(db, rows[:limit]), next=more)

    @app.get("/events")
    async def events(cursor: Cursor = None, limit: Limit = 100) -> OrderEvents:
        found, last = read_events(db, decode_cursor(cursor, 0), limit)
        return OrderEvents(items=found, next=encode_cursor(last))

    @app.delete("/events", status_code=204)
    async def taken(cursor: Annotated[str, Query(max_length=256)]) -> None:
        drop_events(db, decode_cursor(cursor, 0))

    @app.get("/orders/{order_id}")
    async def order(order_id: str, user_id: Id = None, partner_id: Id = None) -> Order:
        row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        foreign = row is not None and (
            (user_id is not None and row["user_id"] != user_id)
            or (partner_id is not None and row["partner_id"] != partner_id)
        )
        if row is None or foreign:
            raise not_found("order")
        return read_orders(db, [row])[0]

    @app.post("/orders", status_code=201)
    async def place(
        request: OrderRequest,
        response: Response,
        idempotency_key: Key = None,
    ) -> Order:
        if idempotency_key is None:
            raise Problem(400, "Send an Idempotency-Key.")
        placed = await checkout.place(request, idempotency_key)
        response.headers["location"] = f"/orders/{placed.id}"
        return placed

    @app.post("/orders/{order_id}/cancel")
    async def cancel(order_id: str, user_id: Id = None, partner_id: Id = None, idempotency_key: Key = None) -> Order:
        cancelled = cancel_order(db, order_id, user_id, idempotency_key, partner_id)
        await partners.release(order_id)
        return cancelled

    @app.get("/carts/{user_id}")
    async def cart(user_id: str) -> Cart:
        return carts.read(user_id)

    @app.post("/carts/{user_id}/items")
    async def add_item(user_id: str, item: CartItem, idempotency_key: Key = None) -> Cart:
        product = (await partners.products([item.product_id]))[item.product_id]
        return carts.add(user_id, product, item.quantity, idempotency_key)

    @app.put("/carts/{user_id}/items/{product_id}")
    async def set_item(user_id: str, product_id: str, wanted: CartQuantity) -> Cart:
        if wanted.quantity == 0:
            return carts.remove(user_id, product_id)
        try:
            product = (await partners.products([product_id]))[product_id]
        except Problem as problem:
            raise not_found("product") if problem.status == UNKNOWN else problem from None
        return carts.put(user_id, product, wanted.quantity)

    @app.delete("/carts/{user_id}/items/{product_id}")
    async def remove_item(user_id: str, product_id: str) -> Cart:
        return carts.remove(user_id, product_id)

    return app
