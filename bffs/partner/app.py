"""The partner gateway: versioned resources behind API keys."""

from __future__ import annotations

from bff_core import create_bff
from shop.clients import Catalog, Orders

from .pages import OrdersPage, ProductPage, ProductsPage
from .settings import PartnerSettings
from .versions import VERSIONS

__all__ = ["app"]

settings = PartnerSettings.load()
app = create_bff("partner", settings=settings, clients=[Catalog, Orders], auth=settings.auth(), versions=VERSIONS)
app.page("/products", ProductsPage)
app.page("/products/{product_id}", ProductPage)
app.page("/orders", OrdersPage)
