"""Who the customers are, what they say and what they are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

from ..models import Address, Order, Review, User
from .database import Row, Rows
from .products import NOW, PRODUCTS

__all__ = ["USERS", "notifications", "reviews", "rows", "users"]

USERS = 5000
REVIEWS = 30_000
SURE_REVIEWS = 15

FIRST = ["Ada", "Björn", "Chiara", "Dmitri", "Élodie", "Fatima", "Gustav", "Hana", "İpek", "Jürgen", "Kofi", "Łucja"]
LAST = ["Müller", "Sørensen", "Rossi", "Nakamura", "O'Brien", "Kowalska", "Haddad", "Van den Berg", "García", "Okafor"]
CITIES = ["Graz", "Lisboa", "Göteborg", "Kraków", "Torino", "Gent"]
TITLES = ["Exactly right", "Smaller than I thought", "Wunderbar", "Would buy again", "Hm", "A gift that was kept"]
TEXTS = [
    "It does what it should and looks good doing it. 👍",
    "The lid rattled at first; a drop of oil and it is quiet.",
    "Arrived in two days, well packed. Das Holz riecht sogar gut.",
    "I expected more for the price, but it has grown on me.",
    "Third one in the family. 毎日使っています。",
    "One star less because the manual is a poem.",
]


def users() -> list[User]:
    """All users, u1 first."""
    chance = random.Random(2)  # noqa: S311 - the same shop every time
    return [_user(number, chance) for number in range(1, USERS + 1)]


def _user(number: int, chance: random.Random) -> User:
    return User(
        id=f"u{number}",
        name=f"{chance.choice(FIRST)} {chance.choice(LAST)}",
        email=f"user{number}@mail.example",
        locale=chance.choice(["de-AT", "en-IE", "fr-BE", "pt-PT", "sv-SE"]),
        member=chance.random() < 0.3,  # noqa: PLR2004 - three in ten
        address=Address(
            street=f"Lange Straße {chance.randrange(1, 200)}",
            city=chance.choice(CITIES),
            postal_code=f"{chance.randrange(1000, 9999)}",
            country="AT",
        ),
        created_at=NOW - timedelta(hours=chance.randrange(1, 40_000)),
    )


def rows(people: list[User]) -> Rows:
    """The users' rows."""
    return {"users": ((number, user.id, user.model_dump_json()) for number, user in enumerate(people, 1))}


def reviews(people: list[User]) -> Rows:
    """The reviews' rows; p1 has at least fifteen."""
    return {"reviews": _reviews(people)}


def _reviews(people: list[User]) -> Iterator[Row]:
    chance = random.Random(3)  # noqa: S311 - the same shop every time
    for number in range(1, REVIEWS + 1):
        user = chance.choice(people)
        review = Review(
            id=f"r{number}",
            product_id="p1" if number <= SURE_REVIEWS else f"p{chance.randint(1, PRODUCTS)}",
            user_id=user.id,
            author=user.name,
            rating=chance.choices([1, 2, 3, 4, 5], [1, 2, 4, 9, 12])[0],
            title=chance.choice(TITLES),
            text=chance.choice(TEXTS),
            created_at=NOW - timedelta(minutes=REVIEWS * 15 - number * 15),
        )
        yield number, review.id, review.product_id, review.rating, review.model_dump_json()


def notifications(orders: list[Order]) -> Rows:
    """One notification for each order that was sent, and some offers; u1 has plenty."""
    return {"notifications": _notifications(orders)}


def _notifications(orders: list[Order]) -> Iterator[Row]:
    chance = random.Random(4)  # noqa: S311 - the same shop every time
    number = 0
    for order in orders:
        kinds = ["order"] if order.status in ("shipped", "delivered") else []
        kinds += ["offer"] if order.user_id == "u1" or chance.random() < 0.1 else []  # noqa: PLR2004 - one in ten
        for kind in kinds:
            number += 1
            title = f"Order {order.id} is on its way" if kind == "order" else "Ten per cent on lamps this week"
            text = "Track it in your account." if kind == "order" else "Until Sunday, for you alone 💡"
            read = chance.random() < 0.6  # noqa: PLR2004 - six in ten
            yield number, f"n{number}", order.user_id, kind, title, text, int(read), order.updated_at.isoformat()
