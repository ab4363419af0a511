"""The web gateway: one rich document a page, and the pages themselves for browsers."""

from __future__ import annotations

from pathlib import Path
from secrets import token_urlsafe

from fastapi.staticfiles import StaticFiles

from bff_core import AnyOf, BearerJwt, OidcSessions, create_bff
from shop.clients import Catalog, Inventory, Notifications, Orders, Recommendations, Reviews, Users

from .pages import (
    AddToCart,
    CartPage,
    HomePage,
    OrderCart,
    OrderPage,
    OrdersPage,
    PlaceOrder,
    ProductPage,
    SearchPage,
    SetInCart,
    StartPage,
)
from .settings import WebSettings

__all__ = ["app"]

HERE = Path(__file__).parent
SHARED = "public, max-age=5, stale-while-revalidate=60"
"""For what is the same for everybody: prices and stock may be five seconds old, a minute while new ones are fetched."""
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
assert app.templates is not None  # noqa: S101 - for the type checker
app.templates.environment.globals["new_key"] = token_urlsafe
app.page("/api/home", HomePage)
app.page("/api/products/{product_id}", ProductPage, public=True, stream=True, cache_control=SHARED)
app.page("/api/orders", OrdersPage)
app.page("/api/orders/{order_id}", OrderPage)
app.page("/api/search", SearchPage, public=True, cache_control=SHARED)
app.page("/api/cart", CartPage)
app.page("/api/cart/items", AddToCart, method="POST", idempotency="optional")
app.page("/api/cart/items/{product_id}", SetInCart, method="PUT")
app.page("/api/orders", PlaceOrder, method="POST", status=201, idempotency="required")
app.html("/", StartPage, template="home.html", public=True)
app.html("/products/{product_id}", ProductPage, template="product.html", public=True)
app.html("/search", SearchPage, template="search.html", public=True)
app.html("/cart", CartPage, template="cart.html")
app.html("/orders", OrdersPage, template="orders.html")
app.html("/orders/{order_id}", OrderPage, template="order.html")
app.form("/cart/items", AddToCart, then="/cart")
app.form("/cart/items/{product_id}", SetInCart, then="/cart")
app.form("/cart/order", OrderCart, then=lambda order: f"/orders/{order.id}?placed")
app.mount("/static", StaticFiles(directory=HERE / "static"))
