"""The page's models, the same for every peer in Python."""

from pydantic import BaseModel


class Product(BaseModel):
    id: str
    name: str
    description: str
    brand: str
    category: str
    price: int
    currency: str
    rating: float
    reviews_count: int
    images: list[str]
    tags: list[str]
    in_stock: bool


class Review(BaseModel):
    id: str
    author: str
    rating: int
    title: str
    body: str
    created_at: str


class Card(BaseModel):
    id: str
    name: str
    price: int
    currency: str
    image: str


class ProductView(BaseModel):
    product: Product
    reviews: list[Review]
    related: list[Card]
