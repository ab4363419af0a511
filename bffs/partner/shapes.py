"""What partners get, as the newest version has it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from shop.models import Money, Order, OrderStatus, Product

__all__ = ["PartnerLine", "PartnerOrder", "PartnerProduct", "partner_order", "partner_product"]


class PartnerProduct(BaseModel):
    id: str
    title: str
    brand: str
    category: str
    description: str
    price: Money
    images: list[str]
    attributes: dict[str, str]
    updated_at: datetime


class PartnerLine(BaseModel):
    product_id: str
    title: str
    quantity: int
    unit_price: Money


class PartnerOrder(BaseModel):
    id: str
    status: OrderStatus
    total: Money
    lines: list[PartnerLine]
    created_at: datetime
    updated_at: datetime


def partner_product(product: Product) -> PartnerProduct:
    """A product as partners see it."""
    return PartnerProduct(
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


def partner_order(order: Order) -> PartnerOrder:
    """An order as partners see it."""
    lines = [
        PartnerLine(product_id=line.product_id, title=line.name, quantity=line.quantity, unit_price=line.unit_price)
        for line in order.lines
    ]
    return PartnerOrder(
        id=order.id,
        status=order.status,
        total=order.total,
        lines=lines,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )
