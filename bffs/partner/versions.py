"""How the partners' resources have changed: every version that is served, the newest first."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from bff_core import Added, Renamed, Replaced, Version, Versions

from .shapes import PartnerLine, PartnerOrder, PartnerProduct

__all__ = ["VERSIONS"]


def as_decimal(money: dict[str, Any]) -> tuple[str, str]:
    """The amount in the currency's major unit, and the currency."""
    return str(Decimal(money["amount"]).scaleb(-2)), money["currency"]


def as_money(amount: str, currency: str) -> dict[str, Any]:
    """The amount in the currency's minor unit, with the currency."""
    return {"amount": int(Decimal(amount).scaleb(2)), "currency": currency}


VERSIONS = Versions(
    Version(
        "2026-05-01",
        Renamed(PartnerProduct, "name", to="title"),
        Replaced(PartnerProduct, {"price": str, "currency": str}, by=["price"], down=as_decimal, up=as_money),
        *(Added(PartnerProduct, name) for name in ("brand", "category", "images", "attributes", "updated_at")),
        Replaced(PartnerOrder, {"total": str, "currency": str}, by=["total"], down=as_decimal, up=as_money),
        Added(PartnerOrder, "created_at"),
        Added(PartnerOrder, "updated_at"),
        Renamed(PartnerLine, "product", to="product_id"),
        Added(PartnerLine, "title"),
        Added(PartnerLine, "unit_price"),
        path="/v2",
    ),
    Version("2024-11-01", path="/v1", deprecated=date(2026, 5, 1), sunset=date(2029, 5, 1)),
)
