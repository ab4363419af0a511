"""The pages of the app."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from bff_core import Page, optional, required, shape
from shop.clients import Catalog, Notifications, Orders, Recommendations, Users, subject
from shop.models import Listing, Notification, Order, Product, User

from .shapes import (
    MobileHome,
    MobileOrder,
    MobileOrderRow,
    MobileProduct,
    order_detail,
    order_row,
    product_card,
    unread_of,
)

__all__ = ["HomePage", "OrderPage", "OrdersPage", "ProductPage", "ProductsPage"]

Limit = Annotated[int, Query(ge=1, le=50)]
Cursor = Annotated[str | None, Query(max_length=256)]


class HomePage(Page):
    """What the app shows when it opens."""

    user = optional(Users.user, user_id=subject)
    orders = optional(Orders.of_user, user_id=subject, limit=3)
    notifications = optional(Notifications.of_user, user_id=subject, feeds=["unread", "headline"])
    recommended = optional(Recommendations.for_user, user_id=subject, limit=4, feeds=["recommendations"])
    cards = optional(
        Catalog.products,
        ids=lambda recommended: [entry.product_id for entry in recommended],
        fallback=[],
        feeds=["recommendations"],
    )

    @shape
    def home(
        self,
        user: User | None,
        orders: Listing[Order] | None,
        notifications: Listing[Notification] | None,
        cards: list[Product],
    ) -> MobileHome:
        news = notifications.items if notifications else []
        return MobileHome(
            name=user.name if user else None,
            unread=unread_of(news),
            headline=news[0].title if news else None,
            orders=[order_row(order) for order in orders.items] if orders else [],
            recommendations=[product_card(card) for card in cards],
        )


class ProductsPage(Page):
    """Products, one screenful at a time."""

    cursor: Cursor = None
    limit: Limit = 20
    category: Annotated[str | None, Query(max_length=64)] = None
    products = required(Catalog.listing, relay_status=[400])

    @shape
    def cards(self, products: Listing[Product]) -> Listing[MobileProduct]:
        return Listing[MobileProduct](items=[product_card(product) for product in products.items], next=products.next)


class ProductPage(Page):
    """One product."""

    product = required(Catalog.product)

    @shape
    def card(self, product: Product) -> MobileProduct:
        return product_card(product)


class OrdersPage(Page):
    """The user's orders, newest first."""

    cursor: Cursor = None
    limit: Limit = 20
    orders = required(Orders.of_user, user_id=subject, relay_status=[400])

    @shape
    def rows(self, orders: Listing[Order]) -> Listing[MobileOrderRow]:
        return Listing[MobileOrderRow](items=[order_row(order) for order in orders.items], next=orders.next)


class OrderPage(Page):
    """One of the user's orders."""

    order = required(Orders.order, user_id=subject)
    products = optional(Catalog.products, ids=lambda order: [line.product_id for line in order.lines], fallback=[])

    @shape
    def detail(self, order: Order, products: list[Product]) -> MobileOrder:
        return order_detail(order, products)
