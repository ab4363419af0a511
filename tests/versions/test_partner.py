"""The partner gateway's version 1, byte for byte as the hand-written shapes of it were."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import to_json

from bffs.partner.shapes import PartnerOrder, PartnerProduct, partner_order, partner_product
from bffs.partner.versions import VERSIONS, as_decimal, as_money
from shop.models import Listing, Money, Order, OrderLine, OrderStatus, Product

instants = st.datetimes(timezones=st.just(UTC))
money = st.builds(Money, amount=st.integers(-(10**12), 10**12), currency=st.sampled_from(["EUR", "USD"]))
products = st.builds(Product, price=money, updated_at=instants)
lines = st.builds(OrderLine, unit_price=money)
orders = st.builds(
    Order,
    total=money,
    lines=st.lists(lines, max_size=3),
    created_at=instants,
    updated_at=instants,
)


class ProductV1(BaseModel):
    id: str
    name: str
    description: str
    price: str
    currency: str


class LineV1(BaseModel):
    product: str
    quantity: int


class OrderV1(BaseModel):
    id: str
    status: OrderStatus
    total: str
    currency: str
    lines: list[LineV1]


def decimal(money: Money) -> str:
    return str(Decimal(money.amount).scaleb(-2))


def product_v1(product: Product) -> ProductV1:
    return ProductV1(
        id=product.id,
        name=product.name,
        description=product.description,
        price=decimal(product.price),
        currency=product.price.currency,
    )


def order_v1(order: Order) -> OrderV1:
    return OrderV1(
        id=order.id,
        status=order.status,
        total=decimal(order.total),
        currency=order.total.currency,
        lines=[LineV1(product=line.product_id, quantity=line.quantity) for line in order.lines],
    )


def first(answer: BaseModel) -> bytes:
    at = VERSIONS.at(type(answer), "v1")
    assert at.down is not None
    return to_json(at.down(answer.model_dump(mode="json", by_alias=True)))


@given(st.lists(products, max_size=2), st.none() | st.text())
def test_products(found: list[Product], after: str | None) -> None:
    """In a listing and alone."""
    then = Listing[ProductV1](items=[product_v1(product) for product in found], next=after)
    now = Listing[PartnerProduct](items=[partner_product(product) for product in found], next=after)
    assert first(now) == then.model_dump_json().encode()
    for product in found:
        assert first(partner_product(product)) == product_v1(product).model_dump_json().encode()


@given(st.lists(orders, max_size=2))
def test_orders(found: list[Order]) -> None:
    """With their lines."""
    then = Listing[OrderV1](items=[order_v1(order) for order in found])
    now = Listing[PartnerOrder](items=[partner_order(order) for order in found])
    assert first(now) == then.model_dump_json().encode()


@given(money)
def test_money_comes_back(money: Money) -> None:
    """To the cent."""
    value: dict[str, Any] = money.model_dump(mode="json")
    assert as_money(*as_decimal(value)) == value


def test_the_second_version_is_the_head() -> None:
    """Nothing is done for it."""
    for model in (PartnerProduct, PartnerOrder, Listing[PartnerProduct], Listing[PartnerOrder]):
        assert VERSIONS.at(model, "v2").model is model
        assert VERSIONS.at(model, "v2").down is None
