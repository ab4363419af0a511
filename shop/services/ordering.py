"""How an order comes about: the cart, the services asked on the way, the checkout, and how it is cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

import httpx

from ..models import Cart, CartItem, CartLine, Money, Order, OrderRequest, Product
from ..ports import PORTS
from .base import transaction
from .order_rows import first_time, read_orders, tell
from .problems import Problem, not_found

__all__ = ["CartStore", "Checkout", "Partners", "cancel_order"]

MOST_OF_ONE = 99


@dataclass(frozen=True, slots=True)
class Partners:
    """The services that the orders service asks."""

    catalog: httpx.AsyncClient
    inventory: httpx.AsyncClient
    payments: httpx.AsyncClient

    @classmethod
    def from_environment(cls) -> Self:
        """At ``SHOP_CATALOG_URL``, ``SHOP_INVENTORY_URL`` and ``SHOP_PAYMENTS_URL``."""
        names = ("catalog", "inventory", "payments")
        urls = {name: os.environ.get(f"SHOP_{name.upper()}_URL", f"http://127.0.0.1:{PORTS[name]}") for name in names}
        return cls(**{name: httpx.AsyncClient(base_url=url, timeout=1.0) for name, url in urls.items()})

    async def aclose(self) -> None:
        """Close the connections."""
        for client in (self.catalog, self.inventory, self.payments):
            await client.aclose()

    async def products(self, ids: Sequence[str]) -> dict[str, Product]:
        """The products with these ids; a 422 problem when one is not there."""
        answer = await _ask(self.catalog, "GET", "/products", params={"ids": list(dict.fromkeys(ids))})
        found = {item["id"]: Product.model_validate(item) for item in answer["items"]}
        if missing := [key for key in ids if key not in found]:
            raise Problem(422, f"There is no product {missing[0]}.")
        return found

    async def reserve(self, order_id: str, lines: Sequence[CartItem]) -> None:
        """Set the goods aside; a 409 problem when there are not enough."""
        await _ask(
            self.inventory,
            "POST",
            "/reservations",
            json={"id": order_id, "lines": [line.model_dump() for line in lines]},
        )

    async def release(self, order_id: str) -> None:
        """Give the goods back."""
        await _ask(self.inventory, "DELETE", f"/reservations/{order_id}")

    async def pay(self, order_id: str, total: Money) -> None:
        """Authorise the payment, once however often it is asked for."""
        await _ask(
            self.payments,
            "POST",
            "/payments",
            json={"order_id": order_id, "amount": total.model_dump()},
            headers={"idempotency-key": order_id},
        )


async def _ask(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> Any:
    try:
        response = await client.request(method, path, **request)
    except httpx.HTTPError as error:
        raise Problem(503, "A service that orders need is not available.") from error
    if response.status_code == HTTPStatus.CONFLICT:
        raise Problem(409, response.json()["detail"])
    if not response.is_success:
        raise Problem(503, "A service that orders need is not available.")
    return response.json() if response.content else None


class CartStore:
    """The carts' rows."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def read(self, user_id: str) -> Cart:
        """The user's cart, empty for anybody who has none."""
        rows = self._db.execute("SELECT * FROM cart_lines WHERE user_id = ? ORDER BY product_id", (user_id,))
        lines = [
            CartLine(
                product_id=row["product_id"],
                name=row["name"],
                quantity=row["quantity"],
                unit_price=Money(amount=row["price"], currency=row["currency"]),
            )
            for row in rows
        ]
        return Cart(user_id=user_id, lines=lines, total=_total([(line.unit_price, line.quantity) for line in lines]))

    def add(self, user_id: str, product: Product, quantity: int, key: str | None = None) -> Cart:
        """Put more of a product in, once for each ``key``; a 409 problem beyond 99 of one."""
        with transaction(self._db):
            if not first_time(self._db, user_id, key, "add", product.id, quantity):
                return self.read(user_id)
            row = self._db.execute(
                "SELECT quantity FROM cart_lines WHERE user_id = ? AND product_id = ?", (user_id, product.id)
            ).fetchone()
            total = quantity + (row["quantity"] if row else 0)
            if total > MOST_OF_ONE:
                raise Problem(409, f"A cart holds at most {MOST_OF_ONE} of one product.")
            self._db.execute(
                "INSERT OR REPLACE INTO cart_lines VALUES (?, ?, ?, ?, ?, ?)",
                (user_id, product.id, product.name, total, product.price.amount, product.price.currency),
            )
        return self.read(user_id)

    def put(self, user_id: str, product: Product, quantity: int) -> Cart:
        """Have so many of a product in, however many there were."""
        self._db.execute(
            "INSERT OR REPLACE INTO cart_lines VALUES (?, ?, ?, ?, ?, ?)",
            (user_id, product.id, product.name, quantity, product.price.amount, product.price.currency),
        )
        return self.read(user_id)

    def remove(self, user_id: str, product_id: str) -> Cart:
        """Take a product out, if it is in."""
        self._db.execute("DELETE FROM cart_lines WHERE user_id = ? AND product_id = ?", (user_id, product_id))
        return self.read(user_id)


def cancel_order(
    db: sqlite3.Connection, order_id: str, user_id: str | None, key: str | None, partner_id: str | None = None
) -> Order:
    """Cancel an order, once for each ``key``; a 404 problem when it is not theirs, a 409 when it is too late."""
    with transaction(db):
        row = db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        foreign = row is not None and (
            (user_id is not None and row["user_id"] != user_id)
            or (partner_id is not None and row["partner_id"] != partner_id)
        )
        if row is None or foreign:
            raise not_found("order")
        if first_time(db, row["user_id"], key, "cancel", order_id):
            if row["status"] not in ("pending", "paid"):
                raise Problem(409, f"An order that is {row['status']} cannot be cancelled.")
            row = db.execute("UPDATE orders SET status = 'cancelled' WHERE id = ? RETURNING *", (order_id,)).fetchone()
            tell(db, "order.updated", order_id)
    return read_orders(db, [row])[0]


class Checkout:
    """Places orders: prices, stock, payment, then one transaction for the order, its key and the emptied cart.

    The order's id comes from user and key, and everything asked for on the way is idempotent by it: a checkout that
    died in the middle is finished by sending the same request again.
    """

    def __init__(self, db: sqlite3.Connection, carts: CartStore, partners: Partners) -> None:
        self._db = db
        self._carts = carts
        self._partners = partners
        self._locks: dict[str, asyncio.Lock] = {}

    async def place(self, request: OrderRequest, key: str) -> Order:
        """The order for ``request``, the stored one when ``key`` was used before."""
        order_id = "o" + hashlib.sha256(f"{len(request.user_id)}:{request.user_id}{key}".encode()).hexdigest()[:16]
        lock = self._locks.setdefault(order_id, asyncio.Lock())
        try:
            async with lock:
                return self._stored(request, key) or await self._place(request, key, order_id)
        finally:
            if not lock.locked():
                self._locks.pop(order_id, None)

    def _stored(self, request: OrderRequest, key: str) -> Order | None:
        row = self._db.execute(
            "SELECT fingerprint, orders.* FROM idempotency JOIN orders ON orders.id = order_id"
            " WHERE idempotency.user_id = ? AND key = ?",
            (request.user_id, key),
        ).fetchone()
        if row is None:
            return None
        if row["fingerprint"] != _fingerprint(request):
            raise Problem(422, "This Idempotency-Key was used for another order.")
        return read_orders(self._db, [row])[0]

    async def _place(self, request: OrderRequest, key: str, order_id: str) -> Order:
        items = request.lines
        if items is None:
            cart = self._carts.read(request.user_id)
            items = [CartItem(product_id=line.product_id, quantity=line.quantity) for line in cart.lines]
        if not items:
            raise Problem(409, "There is nothing to order.")
        products = await self._partners.products([item.product_id for item in items])
        total = _total([(products[item.product_id].price, item.quantity) for item in items])
        await self._partners.reserve(order_id, items)
        try:
            await self._partners.pay(order_id, total)
        except Problem:
            await self._partners.release(order_id)
            raise
        self._store(request, key, order_id, [(products[item.product_id], item.quantity) for item in items], total)
        row = self._db.execute("SELECT * FROM orders WHERE id = ?", (order_id,)).fetchone()
        return read_orders(self._db, [row])[0]

    def _store(
        self, request: OrderRequest, key: str, order_id: str, lines: list[tuple[Product, int]], total: Money
    ) -> None:
        now = datetime.now(UTC).isoformat()
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO orders SELECT coalesce(max(seq), 0) + 1, ?, ?, ?, 'paid', ?, ?, ?, ? FROM orders",
                (order_id, request.user_id, request.partner_id, total.amount, total.currency, now, now),
            )
            self._db.executemany(
                "INSERT INTO lines VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (order_id, at, product.id, product.name, quantity, product.price.amount, product.price.currency)
                    for at, (product, quantity) in enumerate(lines)
                ],
            )
            self._db.execute(
                "INSERT INTO idempotency VALUES (?, ?, ?, ?)", (request.user_id, key, _fingerprint(request), order_id)
            )
            if request.lines is None:
                self._db.execute("DELETE FROM cart_lines WHERE user_id = ?", (request.user_id,))
            tell(self._db, "order.created", order_id)


def _total(lines: Sequence[tuple[Money, int]]) -> Money:
    currencies = {price.currency for price, _ in lines} or {"EUR"}
    if len(currencies) > 1:
        raise Problem(409, "One order has one currency.")
    return Money(amount=sum(price.amount * quantity for price, quantity in lines), currency=currencies.pop())


def _fingerprint(request: OrderRequest) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()
