"""The pages of the app."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from bff_core import AppState, DensityAware, Page, RequestContext, app_state, optional, required, section, shape
from shop.clients import Catalog, Notifications, Orders, Recommendations, Users, subject
from shop.models import Listing, Notification, Order, Product, User

from .shapes import (
    MobileBootstrap,
    MobileHome,
    MobileOrder,
    MobileOrderRow,
    MobileProduct,
    mobile_home,
    order_detail,
    order_row,
    product_card,
)

__all__ = ["BootstrapPage", "HomePage", "OrderPage", "OrdersPage", "ProductPage", "ProductsPage"]

Limit = Annotated[int, Query(ge=1, le=50)]
Cursor = Annotated[str | None, Query(max_length=256)]


class HomePage(DensityAware, Page):
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
        density: float,
    ) -> MobileHome:
        return mobile_home(user, orders, notifications, cards, density)


class BootstrapPage(HomePage):
    """All that the app needs when it is started, in one call: whether it is to be updated, its configuration and flags,
    and what it shows first."""

    @section
    def app(self, context: RequestContext) -> AppState:
        return app_state(context)

    @shape
    def home(
        self,
        app: AppState,
        user: User | None,
        orders: Listing[Order] | None,
        notifications: Listing[Notification] | None,
        cards: list[Product],
        density: float,
    ) -> MobileBootstrap:
        home = mobile_home(user, orders, notifications, cards, density)
        return MobileBootstrap(app=app, **dict(home))


class ProductsPage(DensityAware, Page):
    """Products, one screenful at a time."""

    cursor: Cursor = None
    limit: Limit = 20
    category: Annotated[str | None, Query(max_length=64)] = None
    products = required(Catalog.listing, relay_status=[400])

    @shape
    def cards(self, products: Listing[Product], density: float) -> Listing[MobileProduct]:
        items = [product_card(product, density) for product in products.items]
        return Listing[MobileProduct](items=items, next=products.next)


class ProductPage(DensityAware, Page):
    """One product."""

    product = required(Catalog.product)

    @shape
    def card(self, product: Product, density: float) -> MobileProduct:
        return product_card(product, density)


class OrdersPage(Page):
    """The user's orders, newest first."""

    cursor: Cursor = None
    limit: Limit = 20
    orders = required(Orders.of_user, user_id=subject, relay_status=[400])

    @shape
    def rows(self, orders: Listing[Order]) -> Listing[MobileOrderRow]:
        return Listing[MobileOrderRow](items=[order_row(order) for order in orders.items], next=orders.next)


class OrderPage(DensityAware, Page):
    """One of the user's orders."""

    order = required(Orders.order, user_id=subject)
    products = optional(Catalog.products, ids=lambda order: [line.product_id for line in order.lines], fallback=[])

    @shape
    def detail(self, order: Order, products: list[Product], density: float) -> MobileOrder:
        return order_detail(order, products, density)
