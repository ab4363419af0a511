"""What the shop sells."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from ..models import Image, Money, Product, Specification, Thumbnail
from .database import Rows

__all__ = ["NOW", "PRODUCTS", "generate", "rows"]

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PRODUCTS = 2000

BRANDS = ["Nordlicht", "Kōjō", "Bellavista", "Häferl", "Atelier Noé", "Brightwater", "山田工房", "Ohm & Söhne", "Teku"]
KINDS = {
    "lighting": ["Desk Lamp", "Floor Lamp", "Pendant", "Lantern"],
    "kitchen": ["Teapot", "Chef's Knife", "Kettle", "Stock Pot", "Grinder"],
    "furniture": ["Armchair", "Bookshelf", "Side Table", "Bench"],
    "audio": ["Headphones", "Speaker", "Turntable", "Radio"],
    "outdoor": ["Tent", "Backpack", "Camping Stove", "Hammock"],
    "office": ["Notebook", "Fountain Pen", "Desk Mat", "Organiser"],
    "toys": ["Puzzle", "Kite", "Building Set", "Marble Run"],
    "garden": ["Watering Can", "Pruner", "Raised Bed", "Bird House"],
}
ADJECTIVES = ["Slow", "Quiet", "Folding", "Everyday", "Little", "Tall", "Copper", "Oak", "Linen", "Arctic", "Sunday"]
SENTENCES = [
    "Made to be repaired: every screw can be reached and every part ordered on its own.",
    "The surface is oiled by hand and grows darker with the years.",
    "We tested it for three winters in a house at 1,800 metres.",
    "It weighs less than it looks and stands where you put it.",
    "The cable is long enough for the other side of the room.",
    "Designed in a small studio in Graz, built in a family workshop.",
    "If it does not suit you, send it back within sixty days.",
    "Comes in a box without plastic; the box makes a good drawer.",
    "Its colour is called Grünspan, after the roofs it was copied from.",
    "You will hear it only when you want to.",
]
MATERIALS = ["oak", "copper", "linen", "recycled aluminium", "stoneware", "steel", "wool felt", "bamboo"]
NAMES = ["Material", "Width", "Height", "Depth", "Weight", "Warranty", "Origin", "Energy class", "Colour", "Care"]


def generate() -> list[Product]:
    """All products, p1 first."""
    chance = random.Random(1)  # noqa: S311 - the same shop every time
    return [_product(number, chance) for number in range(1, PRODUCTS + 1)]


def _product(number: int, chance: random.Random) -> Product:
    category = chance.choice(list(KINDS))
    kind = chance.choice(KINDS[category])
    brand = chance.choice(BRANDS)
    name = f"{brand} {chance.choice(ADJECTIVES)} {kind}"
    key = f"p{number}"
    images = [
        Image(url=f"https://img.shop.example/{key}/{view}.jpg", alt=f"{name}, view {view}", width=1600, height=1200)
        for view in range(1, 6)
    ]
    return Product(
        id=key,
        name=name,
        brand=brand,
        category=category,
        description=" ".join(chance.sample(SENTENCES, 6)),
        price=Money(amount=chance.randrange(490, 79_000, 10), currency="EUR"),
        thumbnail=f"https://img.shop.example/{key}/t.jpg",
        thumbnails=[
            Thumbnail(url=f"https://img.shop.example/{key}/{name}.jpg", width=width)
            for name, width in (("t", 160), ("t2", 320), ("t3", 480))
        ],
        images=images,
        specifications=_specifications(chance),
        updated_at=NOW - timedelta(minutes=chance.randrange(500_000)),
    )


def _specifications(chance: random.Random) -> list[Specification]:
    values = {
        "Material": chance.choice(MATERIALS),
        "Weight": f"{chance.randrange(1, 240) / 10} kg",
        "Warranty": f"{chance.choice([2, 5, 10])} years",
        "Origin": chance.choice(["Austria", "Japan", "Portugal", "Sweden", "Italy"]),
        "Energy class": chance.choice("ABCD"),
        "Colour": chance.choice(["Grünspan", "natural", "black", "white", "indigo"]),
        "Care": "wipe with a damp cloth",
    }
    names = chance.sample(NAMES, chance.randint(6, 10))
    return [Specification(name=name, value=values.get(name, f"{chance.randrange(5, 220)} cm")) for name in names]


def rows(products: list[Product]) -> Rows:
    """The catalog's rows."""
    return {
        "products": (
            (number, p.id, p.name, p.brand, p.category, p.model_dump_json()) for number, p in enumerate(products, 1)
        )
    }
