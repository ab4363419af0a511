"""The partner gateway: versioned resources behind API keys."""

from __future__ import annotations

from bff_core import ApiKeys, create_bff
from shop.clients import Catalog, Orders

from .pages import OrdersV1, OrdersV2, ProductPageV1, ProductPageV2, ProductsV1, ProductsV2
from .settings import PartnerSettings

__all__ = ["app"]

settings = PartnerSettings.load()
app = create_bff("partner", settings=settings, clients=[Catalog, Orders], auth=ApiKeys(settings.keys))
app.page("/v1/products", ProductsV1)
app.page("/v1/products/{product_id}", ProductPageV1)
app.page("/v1/orders", OrdersV1)
app.page("/v2/products", ProductsV2)
app.page("/v2/products/{product_id}", ProductPageV2)
app.page("/v2/orders", OrdersV2)
