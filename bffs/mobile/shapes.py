"""What the app gets: little, and only what it shows."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from shop.models import CartLine, Money, Notification, Order, OrderStatus, Product

__all__ = [
    "MobileCartLine",
    "MobileHome",
    "MobileOrder",
    "MobileOrderLine",
    "MobileOrderRow",
    "MobileProduct",
    "cart_line",
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


def unread_of(notifications: list[Notification]) -> int:
    """How many of the latest notifications are unread."""
    return sum(not notification.read for notification in notifications)
