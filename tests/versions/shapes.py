"""A resource with a history of three versions, for the tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from bff_core import Added, Converted, ErrorsChanged, Moved, Renamed, Replaced, ValueAdded, Version, Versions


class Money(BaseModel):
    amount: int = Field(ge=0, le=10**9)
    currency: Literal["EUR", "USD"]


class Contact(BaseModel):
    email: str
    city: str


class Part(BaseModel):
    sku: str
    weight_g: int = Field(ge=0, le=10**9)


class Customer(BaseModel):
    """As it is now."""

    id: str
    first_name: str = Field(pattern="^[a-z]{1,9}$")
    last_name: str = Field(pattern="^[a-z]{1,9}$")
    state: Literal["open", "closed", "frozen"]
    balance: Money
    contact: Contact
    parts: list[Part]
    by_name: dict[str, Part] = {}
    main: Part | None = None
    vip: bool


class OldError(BaseModel):
    error: str
    code: int


def old_error(document: dict[str, Any]) -> dict[str, Any]:
    return {"error": document["title"], "code": document["status"]}


HISTORY = Versions(
    Version(
        "2026-05-01",
        Replaced(
            Customer,
            {"name": str},
            by=["first_name", "last_name"],
            down=lambda first, last: f"{first} {last}",
            up=lambda name: name.split(" ", 1),
        ),
        Moved(Customer, "city", to="contact.city"),
        Added(Customer, "vip", default=False),
        ValueAdded(Customer, "state", "frozen", instead="closed"),
        path="/v3",
    ),
    Version(
        "2025-03-01",
        Renamed(Part, "article", to="sku"),
        Converted(Part, "weight_g", was=str, down=str, up=int),
        Moved(Customer, "email", to="contact.email"),
        ErrorsChanged(old_error, OldError),
        path="/v2",
    ),
    Version("2024-01-01", path="/v1"),
)
