"""The partners' resources. What is fetched is the same in every version; how it looks is not."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from bff_core import Page, required, shape
from shop.clients import Catalog, Orders, subject
from shop.models import Listing, Order, Product

from .shapes import OrderV1, OrderV2, ProductV1, ProductV2, order_v1, order_v2, product_v1, product_v2

__all__ = ["OrdersV1", "OrdersV2", "ProductPageV1", "ProductPageV2", "ProductsV1", "ProductsV2"]

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=256)]


class Products(Page):
    """All products, in a stable order."""

    cursor: Cursor = None
    limit: Limit = 20
    products = required(Catalog.listing, relay_status=[400])


class ProductsV1(Products):
    """All products, in a stable order."""

    @shape
    def rows(self, products: Listing[Product]) -> Listing[ProductV1]:
        return Listing[ProductV1](items=[product_v1(product) for product in products.items], next=products.next)


class ProductsV2(Products):
    """All products, in a stable order."""

    @shape
    def rows(self, products: Listing[Product]) -> Listing[ProductV2]:
        return Listing[ProductV2](items=[product_v2(product) for product in products.items], next=products.next)


class ProductPageV1(Page):
    """One product."""

    product = required(Catalog.product)

    @shape
    def resource(self, product: Product) -> ProductV1:
        return product_v1(product)


class ProductPageV2(Page):
    """One product."""

    product = required(Catalog.product)

    @shape
    def resource(self, product: Product) -> ProductV2:
        return product_v2(product)


class PartnerOrders(Page):
    """The partner's own orders, newest first."""

    cursor: Cursor = None
    limit: Limit = 20
    orders = required(Orders.of_partner, partner_id=subject, relay_status=[400])


class OrdersV1(PartnerOrders):
    """The partner's own orders, newest first."""

    @shape
    def rows(self, orders: Listing[Order]) -> Listing[OrderV1]:
        return Listing[OrderV1](items=[order_v1(order) for order in orders.items], next=orders.next)


class OrdersV2(PartnerOrders):
    """The partner's own orders, newest first."""

    @shape
    def rows(self, orders: Listing[Order]) -> Listing[OrderV2]:
        return Listing[OrderV2](items=[order_v2(order) for order in orders.items], next=orders.next)
