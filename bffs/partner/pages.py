"""The partners' resources, as the newest version has them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from bff_core import Page, required, shape
from shop.clients import Catalog, Orders, partner
from shop.models import Listing, Order, Product

from .shapes import PartnerOrder, PartnerProduct, partner_order, partner_product

__all__ = ["OrderPage", "OrdersPage", "ProductPage", "ProductsPage"]

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=256)]


class ProductsPage(Page):
    """All products, in a stable order."""

    cursor: Cursor = None
    limit: Limit = 20
    products = required(Catalog.listing, relay_status=[400])

    @shape
    def rows(self, products: Listing[Product]) -> Listing[PartnerProduct]:
        return Listing[PartnerProduct](items=[partner_product(item) for item in products.items], next=products.next)


class ProductPage(Page):
    """One product."""

    product = required(Catalog.product)

    @shape
    def resource(self, product: Product) -> PartnerProduct:
        return partner_product(product)


class OrderPage(Page):
    """One of the partner's orders."""

    order = required(Orders.order_of_partner, partner_id=partner)

    @shape
    def resource(self, order: Order) -> PartnerOrder:
        return partner_order(order)


class OrdersPage(Page):
    """The partner's own orders, newest first."""

    cursor: Cursor = None
    limit: Limit = 20
    orders = required(Orders.of_partner, partner_id=partner, relay_status=[400])

    @shape
    def rows(self, orders: Listing[Order]) -> Listing[PartnerOrder]:
        return Listing[PartnerOrder](items=[partner_order(order) for order in orders.items], next=orders.next)
