"""What the app gets: little, and only what it shows."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from bff_core import AppState
from shop.models import CartLine, Listing, Money, Notification, Order, OrderStatus, Product, User

__all__ = [
    "MobileBootstrap",
    "MobileCartLine",
    "MobileHome",
    "MobileOrder",
    "MobileOrderLine",
    "MobileOrderRow",
    "MobileProduct",
    "cart_line",
    "mobile_home",
    "order_row",
    "product_card",
]


class MobileProduct(BaseModel):
    id: str
    name: str
    price: Money
    thumbnail: str


class MobileOrderRow(BaseModel):
    id: str
    status: OrderStatus
    total: Money
    items: int
    created_at: datetime


class MobileCartLine(BaseModel):
    product_id: str
    name: str
    quantity: int
    price: Money


class MobileOrderLine(BaseModel):
    product_id: str
    name: str
    quantity: int
    price: Money
    thumbnail: str | None


class MobileOrder(BaseModel):
    id: str
    status: OrderStatus
    total: Money
    created_at: datetime
    lines: list[MobileOrderLine]


class MobileHome(BaseModel):
    name: str | None
    unread: int
    headline: str | None
    orders: list[MobileOrderRow]
    recommendations: list[MobileProduct]


class MobileBootstrap(MobileHome):
    app: AppState


def product_card(product: Product) -> MobileProduct:
    """A product as the app lists it."""
    return MobileProduct(id=product.id, name=product.name, price=product.price, thumbnail=product.thumbnail)


def cart_line(line: CartLine) -> MobileCartLine:
    """A line of the cart as the app keeps it."""
    return MobileCartLine(product_id=line.product_id, name=line.name, quantity=line.quantity, price=line.unit_price)


def order_row(order: Order) -> MobileOrderRow:
    """An order as the app lists it; ``items`` counts pieces."""
    return MobileOrderRow(
        id=order.id,
        status=order.status,
        total=order.total,
        items=sum(line.quantity for line in order.lines),
        created_at=order.created_at,
    )


def order_detail(order: Order, products: list[Product]) -> MobileOrder:
    """An order with its lines; a line whose product could not be looked up has no thumbnail."""
    thumbnails = {product.id: product.thumbnail for product in products}
    lines = [
        MobileOrderLine(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            price=line.unit_price,
            thumbnail=thumbnails.get(line.product_id),
        )
        for line in order.lines
    ]
    return MobileOrder(id=order.id, status=order.status, total=order.total, created_at=order.created_at, lines=lines)


def mobile_home(
    user: User | None,
    orders: Listing[Order] | None,
    notifications: Listing[Notification] | None,
    cards: list[Product],
) -> MobileHome:
    """The first screen; ``unread`` counts among the latest notifications."""
    news = notifications.items if notifications else []
    return MobileHome(
        name=user.name if user else None,
        unread=sum(not notification.read for notification in news),
        headline=news[0].title if news else None,
        orders=[order_row(order) for order in orders.items] if orders else [],
        recommendations=[product_card(card) for card in cards],
    )
