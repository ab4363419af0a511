"""What the app gets: little, and only what it shows."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from bff_core import AppState, pick_variant
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

CARD_WIDTH = 160  # CSS pixels


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


def thumbnail_of(product: Product, density: float = 1.0) -> str:
    """The picture of a product for a screen of this density; the usual one when there is no choice."""
    if density <= 1:
        return product.thumbnail
    picked = pick_variant(product.thumbnails, lambda one: one.width, CARD_WIDTH * density)
    return product.thumbnail if picked is None else picked.url


def product_card(product: Product, density: float = 1.0) -> MobileProduct:
    """A product as the app lists it."""
    return MobileProduct(
        id=product.id, name=product.name, price=product.price, thumbnail=thumbnail_of(product, density)
    )


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


def order_detail(order: Order, products: list[Product], density: float) -> MobileOrder:
    """An order with its lines; a line whose product could not be looked up has no thumbnail."""
    thumbnails = {product.id: thumbnail_of(product, density) for product in products}
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
    density: float,
) -> MobileHome:
    """The first screen; ``unread`` counts among the latest notifications."""
    news = notifications.items if notifications else []
    return MobileHome(
        name=user.name if user else None,
        unread=sum(not notification.read for notification in news),
        headline=news[0].title if news else None,
        orders=[order_row(order) for order in orders.items] if orders else [],
        recommendations=[product_card(card, density) for card in cards],
    )
