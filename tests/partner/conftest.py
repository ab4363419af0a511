"""The shop for the partner gateway."""

from __future__ import annotations

from tests.shop.conftest import ask, data

__all__ = ["ask", "data"]
