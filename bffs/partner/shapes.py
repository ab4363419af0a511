"""What partners get: two versions of the same resources, each kept as it was promised."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel

from shop.models import Money, Order, OrderStatus, Product

__all__ = ["OrderV1", "OrderV2", "ProductV1", "ProductV2", "order_v1", "order_v2", "product_v1", "product_v2"]


class ProductV1(BaseModel):
    """``price`` is a decimal number in a string."""

    id: str
    name: str
    description: str
    price: str
    currency: str


class ProductV2(BaseModel):
    id: str
    title: str
    brand: str
    category: str
    description: str
    price: Money
    images: list[str]
    attributes: dict[str, str]
    updated_at: datetime


class LineV1(BaseModel):
    product: str
    quantity: int


class OrderV1(BaseModel):
    id: str
    status: OrderStatus
    total: str
    currency: str
    lines: list[LineV1]


class LineV2(BaseModel):
    product_id: str
    title: str
    quantity: int
    unit_price: Money


class OrderV2(BaseModel):
    id: str
    status: OrderStatus
    total: Money
    lines: list[LineV2]
    created_at: datetime
    updated_at: datetime


def decimal(money: Money) -> str:
    """The amount in the currency's major unit."""
    return str(Decimal(money.amount).scaleb(-2))


def product_v1(product: Product) -> ProductV1:
    """A product as version 1 promised it."""
    return ProductV1(
        id=product.id,
        name=product.name,
        description=product.description,
        price=decimal(product.price),
        currency=product.price.currency,
    )


def product_v2(product: Product) -> ProductV2:
    """A product as version 2 promises it."""
    return ProductV2(
        id=product.id,
        title=product.name,
        brand=product.brand,
        category=product.category,
        description=product.description,
        price=product.price,
        images=[image.url for image in product.images],
        attributes={entry.name: entry.value for entry in product.specifications},
        updated_at=product.updated_at,
    )


def order_v1(order: Order) -> OrderV1:
    """An order as version 1 promised it."""
    return OrderV1(
        id=order.id,
        status=order.status,
        total=decimal(order.total),
        currency=order.total.currency,
        lines=[LineV1(product=line.product_id, quantity=line.quantity) for line in order.lines],
    )


def order_v2(order: Order) -> OrderV2:
    """An order as version 2 promises it."""
    lines = [
        LineV2(product_id=line.product_id, title=line.name, quantity=line.quantity, unit_price=line.unit_price)
        for line in order.lines
    ]
    return OrderV2(
        id=order.id,
        status=order.status,
        total=order.total,
        lines=lines,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )
