"""The web gateway: one rich document a page, and the pages themselves for browsers."""

from __future__ import annotations

from pathlib import Path

from fastapi.staticfiles import StaticFiles

from bff_core import AnyOf, BearerJwt, OidcSessions, create_bff
from shop.clients import Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users

from .pages import AddToCart, HomePage, OrderPage, OrdersPage, PlaceOrder, ProductPage, SearchPage, StartPage
from .settings import WebSettings

__all__ = ["app"]

HERE = Path(__file__).parent
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
    templates=HERE / "templates",
    clients=[Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users],
    auth=bearer if settings.oidc is None else AnyOf(bearer, OidcSessions.from_settings(settings.oidc)),
)
app.page("/api/home", HomePage)
app.page("/api/products/{product_id}", ProductPage, public=True, stream=True)
app.page("/api/orders", OrdersPage)
app.page("/api/orders/{order_id}", OrderPage)
app.page("/api/search", SearchPage, public=True)
app.page("/api/cart/items", AddToCart, method="POST", idempotency="optional")
app.page("/api/orders", PlaceOrder, method="POST", status=201, idempotency="required")
app.html("/", StartPage, template="home.html", public=True)
app.html("/products/{product_id}", ProductPage, template="product.html", public=True)
app.html("/search", SearchPage, template="search.html", public=True)
app.mount("/static", StaticFiles(directory=HERE / "static"))
