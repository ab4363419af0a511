"""Typed clients of the shop's services, shared by the three gateways."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from bff_core import Principal, Refused, ServiceClient, delete, get, post, put

from .models import (
    Cart,
    CartItem,
    CartQuantity,
    Listing,
    Notification,
    Order,
    OrderEvents,
    OrderRequest,
    Product,
    Recommendation,
    ReviewListing,
    Stock,
    User,
)
from .ports import PORTS

__all__ = [
    "Catalog",
    "Inventory",
    "Notifications",
    "Orders",
    "Recommendations",
    "Reviews",
    "Users",
    "partner",
    "service_urls",
    "subject",
]


def service_urls(*services: str) -> dict[str, dict[str, str]]:
    """Where the services listen on a developer's machine: the defaults of a gateway's settings."""
    return {service: {"url": f"http://127.0.0.1:{PORTS[service]}"} for service in services}


def subject(principal: Principal) -> str:
    """The id of the user, or partner, the request is made for; binds an operation's ``user_id``."""
    return principal.subject


def partner(principal: Principal) -> str:
    """The id of the partner the request is made for, by a key or a token of its tenant. A 403 problem for who belongs
    to none: subjects are another's to give, and may be called as a partner is."""
    if principal.tenant is None:
        raise Refused(403, "no_tenant")
    return principal.tenant


class Catalog(ServiceClient, service="catalog"):
    """What the shop sells."""

    @get("/products/{product_id}")
    async def product(self, product_id: str) -> Product: ...

    @get("/products", batch="ids", at="items")
    async def products(self, ids: list[str]) -> list[Product]: ...

    @get("/products")
    async def listing(
        self, cursor: str | None = None, limit: int = 20, category: str | None = None, q: str | None = None
    ) -> Listing[Product]: ...


class Reviews(ServiceClient, service="reviews"):
    """What customers say."""

    @get("/products/{product_id}/reviews")
    async def of_product(self, product_id: str, limit: int = 10, cursor: str | None = None) -> ReviewListing: ...


class Recommendations(ServiceClient, service="recommendations"):
    """What is bought together."""

    @get("/products/{product_id}/related", at="items")
    async def related_to(self, product_id: str, limit: int = 8) -> list[Recommendation]: ...

    @get("/users/{user_id}/recommendations", at="items")
    async def for_user(self, user_id: str, limit: int = 8) -> list[Recommendation]: ...


class Users(ServiceClient, service="users"):
    """Who the customers are."""

    @get("/users/{user_id}")
    async def user(self, user_id: str) -> User: ...


class Orders(ServiceClient, service="orders"):
    """Orders and carts; totals and stock rules are this service's."""

    @get("/orders")
    async def of_user(self, user_id: str, cursor: str | None = None, limit: int = 20) -> Listing[Order]: ...

    @get("/orders")
    async def of_partner(self, partner_id: str, cursor: str | None = None, limit: int = 20) -> Listing[Order]: ...

    @get("/orders/{order_id}")
    async def order(self, order_id: str, user_id: str) -> Order: ...

    @get("/orders/{order_id}")
    async def order_of_partner(self, order_id: str, partner_id: str) -> Order: ...

    @get("/events")
    async def events(self, cursor: str | None = None, limit: int = 100) -> OrderEvents: ...

    @delete("/events")
    async def taken(self, cursor: str) -> None: ...

    @post("/orders/{order_id}/cancel")
    async def cancel_of_partner(
        self, order_id: str, partner_id: str, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Order: ...

    @post("/orders", idempotent=True)
    async def place(self, order: OrderRequest, idempotency_key: Annotated[str, Header()]) -> Order: ...

    @post("/orders/{order_id}/cancel")
    async def cancel(
        self, order_id: str, user_id: str, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Order: ...

    @get("/carts/{user_id}")
    async def cart(self, user_id: str) -> Cart: ...

    @post("/carts/{user_id}/items")
    async def add_to_cart(
        self, user_id: str, item: CartItem, idempotency_key: Annotated[str | None, Header()] = None
    ) -> Cart: ...

    @put("/carts/{user_id}/items/{product_id}")
    async def set_in_cart(self, user_id: str, product_id: str, wanted: CartQuantity) -> Cart: ...

    @delete("/carts/{user_id}/items/{product_id}")
    async def remove_from_cart(self, user_id: str, product_id: str) -> Cart: ...


class Notifications(ServiceClient, service="notifications"):
    """What the shop tells its customers."""

    @get("/users/{user_id}/notifications")
    async def of_user(self, user_id: str, limit: int = 10) -> Listing[Notification]: ...


class Inventory(ServiceClient, service="inventory"):
    """What is in stock."""

    @get("/stock/{product_id}")
    async def stock(self, product_id: str) -> Stock: ...
