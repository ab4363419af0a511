"""What was bought, paid, is in stock, and goes together."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from itertools import permutations

from ..models import Money, Order, OrderLine, OrderStatus, Product, User
from .database import Row, Rows
from .products import NOW, PRODUCTS

__all__ = ["ORDERS", "PARTNERS", "order_rows", "orders", "payments", "recommendations", "stock"]

ORDERS = 20_000
PARTNERS = ["acme", "globex", "initech", "umbrella", "stark"]
STATUSES: list[OrderStatus] = ["pending", "paid", "shipped", "delivered", "cancelled"]
LONG_ORDER = 20
FIRST_USERS_ORDERS = 12


def orders(catalog: list[Product], users: list[User]) -> list[Order]:
    """All orders, oldest and o1 first. o1 is u1's and has twenty lines; u1 has a dozen at least."""
    chance = random.Random(5)  # noqa: S311 - the same shop every time
    return [_order(number, chance, catalog, users) for number in range(1, ORDERS + 1)]


def _order(number: int, chance: random.Random, catalog: list[Product], users: list[User]) -> Order:
    owner = "u1" if number <= FIRST_USERS_ORDERS else chance.choice(users).id
    # A favourite and its neighbours in the catalog, so that some things are really bought together.
    favourite = (int(chance.paretovariate(1.2)) - 1) % PRODUCTS
    count = LONG_ORDER if number == 1 else chance.randint(1, 6)
    chosen = dict.fromkeys((favourite + int(chance.expovariate(0.15))) % PRODUCTS for _ in range(count))
    while len(chosen) < count:
        chosen[chance.randrange(PRODUCTS)] = None
    lines = [_line(catalog[index], chance) for index in chosen]
    created = NOW - timedelta(minutes=(ORDERS - number) * 20 + 5)
    return Order(
        id=f"o{number}",
        user_id=owner,
        partner_id=chance.choice(PARTNERS) if chance.random() < 0.1 else None,  # noqa: PLR2004 - one in ten
        status=chance.choices(STATUSES, [1, 2, 3, 12, 1])[0],
        lines=lines,
        total=Money(amount=sum(line.quantity * line.unit_price.amount for line in lines), currency="EUR"),
        created_at=created,
        updated_at=created + timedelta(hours=chance.randrange(48)),
    )


def _line(product: Product, chance: random.Random) -> OrderLine:
    return OrderLine(
        product_id=product.id, name=product.name, quantity=chance.choice([1, 1, 1, 2, 3]), unit_price=product.price
    )


def order_rows(all_orders: list[Order], catalog: list[Product]) -> Rows:
    """The orders' rows, and a filled cart for every seventh user."""
    chance = random.Random(6)  # noqa: S311 - the same shop every time
    carts: list[Row] = []
    for number in range(7, 5001, 7):
        for product in chance.sample(catalog, chance.randint(1, 4)):
            price = product.price
            carts.append((f"u{number}", product.id, product.name, chance.randint(1, 3), price.amount, price.currency))
    return {
        "orders": (
            (
                *(number, order.id, order.user_id, order.partner_id, order.status),
                *(order.total.amount, order.total.currency),
                *(order.created_at.isoformat(), order.updated_at.isoformat()),
            )
            for number, order in enumerate(all_orders, 1)
        ),
        "lines": (
            (order.id, at, line.product_id, line.name, line.quantity, line.unit_price.amount, line.unit_price.currency)
            for order in all_orders
            for at, line in enumerate(order.lines)
        ),
        "cart_lines": carts,
    }


def stock() -> Rows:
    """Stock of each product; some are sold out, p1 never."""
    chance = random.Random(7)  # noqa: S311 - the same shop every time
    warehouses = ["Graz", "Gent", "Göteborg"]
    return {
        "stock": [
            (f"p{number}", 500 if number == 1 else max(0, chance.randrange(-20, 400)), chance.choice(warehouses))
            for number in range(1, PRODUCTS + 1)
        ]
    }


def payments(all_orders: list[Order]) -> Rows:
    """One payment for each order that was paid."""
    chance = random.Random(8)  # noqa: S311 - the same shop every time
    paid = [order for order in all_orders if order.status in ("paid", "shipped", "delivered")]
    return {
        "payments": [
            (
                *(number, f"pay{number}", order.id, order.total.amount, order.total.currency),
                *(chance.choice(["card", "invoice", "wallet"]), "captured", order.created_at.isoformat(), None),
            )
            for number, order in enumerate(paid, 1)
        ]
    }


def recommendations(all_orders: list[Order]) -> Rows:
    """How many orders hold both of two products, for all that were bought together at all."""
    together: Counter[tuple[str, str]] = Counter()
    bought: set[tuple[str, str]] = set()
    for order in all_orders:
        ids = [line.product_id for line in order.lines]
        together.update(permutations(ids, 2))
        bought.update((order.user_id, product) for product in ids)
    return {
        "related": ((one, other, count) for (one, other), count in sorted(together.items())),
        "bought": sorted(bought),
    }
