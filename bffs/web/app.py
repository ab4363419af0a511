"""The web gateway: one rich document a page."""

from __future__ import annotations

from bff_core import AnyOf, BearerJwt, OidcSessions, create_bff
from shop.clients import Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users

from .pages import AddToCart, HomePage, OrderPage, OrdersPage, PlaceOrder, ProductPage, SearchPage
from .settings import WebSettings

__all__ = ["app"]

settings = WebSettings.load()
bearer = BearerJwt(
    issuer=settings.issuer,
    audience=settings.audience,
    typ="at+jwt",
    jwks_url=f"{settings.services['identity'].url}/.well-known/jwks.json",
)
app = create_bff(
    "web",
    settings=settings,
    clients=[Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users],
    auth=bearer if settings.oidc is None else AnyOf(bearer, OidcSessions.from_settings(settings.oidc)),
)
app.page("/api/home", HomePage)
app.page("/api/products/{product_id}", ProductPage, public=True)
app.page("/api/orders", OrdersPage)
app.page("/api/orders/{order_id}", OrderPage)
app.page("/api/search", SearchPage, public=True)
app.page("/api/cart/items", AddToCart, method="POST", idempotency="optional")
app.page("/api/orders", PlaceOrder, method="POST", status=201, idempotency="required")
