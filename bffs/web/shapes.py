"""What the browser gets: everything a page shows, in one document."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from shop.models import (
    Cart,
    CartLine,
    Image,
    Money,
    Notification,
    Order,
    OrderLine,
    OrderStatus,
    Product,
    Review,
    ReviewSummary,
    Specification,
    Stock,
)

__all__ = [
    "ProductCard",
    "StartDocument",
    "WebCart",
    "WebHome",
    "WebOrder",
    "WebOrderLine",
    "WebProduct",
    "WebReview",
    "WebStock",
    "WebUser",
    "cart_of",
    "order_of",
    "product_card",
    "review_of",
    "stock_of",
]


class ProductCard(BaseModel):
    id: str
    name: str
    brand: str
    price: Money
    thumbnail: str


class WebReview(BaseModel):
    id: str
    author: str
    rating: int
    title: str
    text: str
    created_at: datetime


class WebStock(BaseModel):
    available: int
    warehouse: str


class WebProduct(BaseModel):
    id: str
    name: str
    description: str
    price: Money
    images: list[Image]
    specifications: list[Specification]
    stock: WebStock | None
    reviews: list[WebReview]
    review_summary: ReviewSummary | None
    related: list[ProductCard]


class WebOrderLine(BaseModel):
    product_id: str
    name: str
    quantity: int
    unit_price: Money
    product: ProductCard | None


class WebOrder(BaseModel):
    id: str
    status: OrderStatus
    total: Money
    created_at: datetime
    updated_at: datetime
    lines: list[WebOrderLine]


class WebCart(BaseModel):
    lines: list[WebOrderLine]
    total: Money
    quantity: int


class WebUser(BaseModel):
    id: str
    name: str
    email: str
    member: bool


class WebHome(BaseModel):
    user: WebUser | None
    orders: list[WebOrder]
    notifications: list[Notification]
    recommendations: list[ProductCard]


class StartDocument(BaseModel):
    products: list[ProductCard]
    together: list[ProductCard]


def product_card(product: Product) -> ProductCard:
    """A product as lists and teasers show it."""
    return ProductCard(
        id=product.id, name=product.name, brand=product.brand, price=product.price, thumbnail=product.thumbnail
    )


def review_of(review: Review) -> WebReview:
    """A review as the product page shows it, without who wrote it by id."""
    return WebReview(
        id=review.id,
        author=review.author,
        rating=review.rating,
        title=review.title,
        text=review.text,
        created_at=review.created_at,
    )


def stock_of(stock: Stock) -> WebStock:
    """How many there are, and where."""
    return WebStock(available=stock.available, warehouse=stock.warehouse)


def line_of(line: OrderLine | CartLine, products: dict[str, Product]) -> WebOrderLine:
    """A line that shows its product, if ``products`` (by id) has it."""
    product = products.get(line.product_id)
    return WebOrderLine(
        product_id=line.product_id,
        name=line.name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        product=product_card(product) if product else None,
    )


def cart_of(cart: Cart, products: dict[str, Product]) -> WebCart:
    """A cart, each line with its product."""
    return WebCart(
        lines=[line_of(line, products) for line in cart.lines],
        total=cart.total,
        quantity=sum(line.quantity for line in cart.lines),
    )


def order_of(order: Order, products: dict[str, Product]) -> WebOrder:
    """An order, each line with its product."""
    return WebOrder(
        id=order.id,
        status=order.status,
        total=order.total,
        created_at=order.created_at,
        updated_at=order.updated_at,
        lines=[line_of(line, products) for line in order.lines],
    )
