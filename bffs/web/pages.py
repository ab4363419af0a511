"""The documents behind the web pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query
from pydantic import BaseModel, ConfigDict, Field

from bff_core import Page, optional, required, shape
from shop.clients import Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users, subject
from shop.models import (
    Cart,
    CartItem,
    CartQuantity,
    Listing,
    NewOrder,
    Notification,
    Order,
    OrderRequest,
    Product,
    ReviewListing,
    Stock,
    User,
)

from .shapes import (
    ProductCard,
    StartDocument,
    WebCart,
    WebHome,
    WebOrder,
    WebProduct,
    WebUser,
    cart_of,
    order_of,
    product_card,
    review_of,
    stock_of,
)

__all__ = [
    "AddToCart",
    "CartPage",
    "HomePage",
    "OrderCart",
    "OrderPage",
    "OrdersPage",
    "PlaceOrder",
    "ProductPage",
    "SearchPage",
    "SetInCart",
    "StartPage",
]

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=256)]


def products_in(orders: Listing[Order]) -> list[str]:
    return [line.product_id for order in orders.items for line in order.lines]


class HomePage(Page):
    """The signed-in user's start page."""

    user = optional(Users.user, user_id=subject, feeds=["user"])
    orders = optional(Orders.of_user, user_id=subject, limit=5, feeds=["orders"])
    order_products = optional(Catalog.products, ids=products_in, fallback=[], feeds=["orders"])
    notifications = optional(Notifications.of_user, user_id=subject, feeds=["notifications"])
    recommended = optional(Recommendations.for_user, user_id=subject, feeds=["recommendations"])
    recommendations = optional(
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
        order_products: list[Product],
        notifications: Listing[Notification] | None,
        recommendations: list[Product],
    ) -> WebHome:
        products = {product.id: product for product in order_products}
        return WebHome(
            user=WebUser(id=user.id, name=user.name, email=user.email, member=user.member) if user else None,
            orders=[order_of(order, products) for order in orders.items] if orders else [],
            notifications=notifications.items if notifications else [],
            recommendations=[product_card(product) for product in recommendations],
        )


class StartPage(Page):
    """What anybody sees first."""

    listing = required(Catalog.listing, limit=12)
    first = optional(
        Recommendations.related_to,
        product_id=lambda listing: listing.items[0].id,
        when=lambda listing: bool(listing.items),
        limit=4,
        feeds=["together"],
    )
    together = optional(
        Catalog.products, ids=lambda first: [entry.product_id for entry in first], fallback=[], feeds=["together"]
    )

    @shape
    def start(self, listing: Listing[Product], together: list[Product]) -> StartDocument:
        return StartDocument(
            products=[product_card(product) for product in listing.items],
            together=[product_card(product) for product in together],
        )


class ProductPage(Page):
    """Everything the product page shows."""

    product = required(Catalog.product)
    stock = optional(Inventory.stock, feeds=["stock"])
    reviews = optional(Reviews.of_product, limit=10, timeout=0.8, stale_for=300, feeds=["reviews", "review_summary"])
    bought_together = optional(Recommendations.related_to, limit=8, feeds=["related"])
    related = optional(
        Catalog.products,
        ids=lambda bought_together: [entry.product_id for entry in bought_together],
        fallback=[],
        feeds=["related"],
    )

    @shape
    def web_product(
        self, product: Product, stock: Stock | None, reviews: ReviewListing | None, related: list[Product]
    ) -> WebProduct:
        return WebProduct(
            id=product.id,
            name=product.name,
            description=product.description,
            price=product.price,
            images=product.images,
            specifications=product.specifications,
            stock=stock_of(stock) if stock else None,
            reviews=[review_of(review) for review in reviews.items] if reviews else [],
            review_summary=reviews.summary if reviews else None,
            related=[product_card(other) for other in related],
        )


class OrdersPage(Page):
    """The user's orders, newest first, with their products."""

    cursor: Cursor = None
    limit: Limit = 20
    orders = required(Orders.of_user, user_id=subject, relay_status=[400])
    products = optional(Catalog.products, ids=products_in, fallback=[])

    @shape
    def rows(self, orders: Listing[Order], products: list[Product]) -> Listing[WebOrder]:
        by_id = {product.id: product for product in products}
        return Listing[WebOrder](items=[order_of(order, by_id) for order in orders.items], next=orders.next)


class OrderPage(Page):
    """One of the user's orders, each line with its product."""

    order = required(Orders.order, user_id=subject)
    products = optional(Catalog.products, ids=lambda order: [line.product_id for line in order.lines], fallback=[])

    @shape
    def detail(self, order: Order, products: list[Product]) -> WebOrder:
        return order_of(order, {product.id: product for product in products})


class SearchPage(Page):
    """Products whose name, brand or category has the words."""

    q: Annotated[str, Query(min_length=1, max_length=200)]
    cursor: Cursor = None
    limit: Limit = 20
    results = required(Catalog.listing, relay_status=[400])

    @shape
    def cards(self, results: Listing[Product]) -> Listing[ProductCard]:
        return Listing[ProductCard](items=[product_card(product) for product in results.items], next=results.next)


class CartPage(Page):
    """What the user means to order."""

    cart = required(Orders.cart, user_id=subject)
    products = optional(Catalog.products, ids=lambda cart: [line.product_id for line in cart.lines], fallback=[])

    @shape
    def shown(self, cart: Cart, products: list[Product]) -> WebCart:
        return cart_of(cart, {product.id: product for product in products})


class AddToCart(Page):
    """Put a product into the user's cart."""

    item: CartItem
    idempotency_key: Annotated[str | None, Header()] = None
    cart = required(Orders.add_to_cart, user_id=subject, relay_status=[404, 409, 422])

    @shape
    def after(self, cart: Cart) -> Cart:
        return cart


class SetInCart(Page):
    """Have so many of a product in the user's cart; 0 takes it out."""

    wanted: CartQuantity
    cart = required(Orders.set_in_cart, user_id=subject, relay_status=[422])

    @shape
    def after(self, cart: Cart) -> Cart:
        return cart


class PlaceOrder(Page):
    """Order what the body lists, or without lines the user's cart.

    With the same Idempotency-Key the same order again is the same order, however often it is sent.
    """

    new_order: NewOrder
    idempotency_key: Annotated[str, Header()] = ""
    order = required(
        Orders.place,
        order=lambda new_order, principal: OrderRequest(user_id=principal.subject, lines=new_order.lines),
        relay_status=[409, 422],
    )

    @shape
    def placed(self, order: Order) -> WebOrder:
        return order_of(order, {})


class CartForm(BaseModel):
    """The form under the cart; ``key`` is new each time it is shown, so that a second click orders nothing more."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=16, max_length=64)]


class OrderCart(Page):
    """Order the user's cart."""

    form: CartForm
    order = required(
        Orders.place,
        order=lambda principal: OrderRequest(user_id=principal.subject),
        idempotency_key=lambda form: form.key,
        relay_status=[409, 422],
    )

    @shape
    def placed(self, order: Order) -> WebOrder:
        return order_of(order, {})
