"""What the shop's services say on the wire: one model per resource, shared by the services and their clients.

Amounts are integers in the currency's minor unit (cents). Instants are RFC 3339 in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Address",
    "Cart",
    "CartItem",
    "CartLine",
    "Category",
    "Image",
    "Listing",
    "Money",
    "NewOrder",
    "Notification",
    "Order",
    "OrderEvent",
    "OrderEvents",
    "OrderLine",
    "OrderRequest",
    "OrderStatus",
    "Payment",
    "Product",
    "Recommendation",
    "Review",
    "ReviewListing",
    "ReviewSummary",
    "Specification",
    "Stock",
    "Thumbnail",
    "User",
]


T = TypeVar("T")


class Resource(BaseModel):
    """A resource as a service sends it; fields a newer service adds are ignored by an older client."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Listing(Resource, Generic[T]):
    """One page of a listing; ``next`` is the cursor of the following page, null on the last."""

    items: list[T]
    next: str | None = None


class Money(Resource):
    amount: int
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class Image(Resource):
    url: str
    alt: str
    width: int
    height: int


class Thumbnail(Resource):
    url: str
    width: int


class Specification(Resource):
    name: str
    value: str


class Product(Resource):
    id: str
    name: str
    brand: str
    category: str
    description: str
    price: Money
    thumbnail: str
    thumbnails: list[Thumbnail] = []
    images: list[Image]
    specifications: list[Specification]
    updated_at: datetime


class Category(Resource):
    id: str
    name: str
    products: int


class Review(Resource):
    id: str
    product_id: str
    user_id: str
    author: str
    rating: Annotated[int, Field(ge=1, le=5)]
    title: str
    text: str
    created_at: datetime


class ReviewSummary(Resource):
    """``histogram[i]`` counts the reviews with ``i + 1`` stars; ``average`` is null without reviews."""

    product_id: str
    count: int
    average: float | None
    histogram: list[int]


class ReviewListing(Listing[Review]):
    """A product's reviews, newest first, with the summary of all of them."""

    summary: ReviewSummary


class Recommendation(Resource):
    """A product bought together with another; ``score`` is the number of orders that hold both."""

    product_id: str
    score: int


class Address(Resource):
    street: str
    city: str
    postal_code: str
    country: str


class User(Resource):
    id: str
    name: str
    email: str
    locale: str
    member: bool
    address: Address
    created_at: datetime


OrderStatus = Literal["pending", "paid", "shipped", "delivered", "cancelled"]


class OrderLine(Resource):
    product_id: str
    name: str
    quantity: int
    unit_price: Money


class Order(Resource):
    id: str
    user_id: str
    partner_id: str | None
    status: OrderStatus
    lines: list[OrderLine]
    total: Money
    created_at: datetime
    updated_at: datetime


class OrderEvent(Resource):
    """What happened to an order, with the order as it was then. ``id`` is the same however often it is read. ``type``
    is ``order.created`` or ``order.updated``; there may be others one day."""

    id: str
    type: str
    order: Order


class OrderEvents(Resource):
    """Events in the order in which they happened; ``next`` is the cursor of those that are yet to come."""

    items: list[OrderEvent]
    next: str


class NewOrder(BaseModel):
    """The lines to order; without ``lines`` the user's cart is ordered and emptied."""

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[list[CartItem], Field(max_length=100)] | None = None


class OrderRequest(NewOrder):
    """A new order and who orders."""

    user_id: str
    partner_id: str | None = None


class CartItem(BaseModel):
    """A product and how many of it."""

    model_config = ConfigDict(extra="forbid")

    product_id: Annotated[str, Field(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=99)] = 1


class CartQuantity(BaseModel):
    """How many of a product a cart is to have; 0 takes it out."""

    model_config = ConfigDict(extra="forbid")

    quantity: Annotated[int, Field(ge=0, le=99)]


class CartLine(Resource):
    product_id: str
    name: str
    quantity: int
    unit_price: Money


class Cart(Resource):
    user_id: str
    lines: list[CartLine]
    total: Money


class Notification(Resource):
    id: str
    user_id: str
    kind: Literal["order", "offer", "account"]
    title: str
    text: str
    read: bool
    created_at: datetime


class Stock(Resource):
    product_id: str
    available: int
    warehouse: str


class Payment(Resource):
    id: str
    order_id: str
    amount: Money
    method: Literal["card", "invoice", "wallet"]
    status: Literal["authorized", "captured", "refunded", "declined"]
    created_at: datetime
