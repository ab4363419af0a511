"""The mobile gateway: lean answers for the app."""

from __future__ import annotations

from bff_core import AppLife, BearerJwt, PushTokens, create_bff
from shop.clients import Catalog, Notifications, Orders, Recommendations, Users

from .pages import BootstrapPage, HomePage, OrderPage, OrdersPage, ProductPage, ProductsPage
from .settings import MobileSettings
from .sync import COLLECTIONS, MUTATIONS

__all__ = ["app"]

settings = MobileSettings.load()
# Where pushes are to be sent, it takes a provider: PushTokens(store, Fcm(...)), see docs/apps.md.
push = PushTokens(settings.push_store)
app = create_bff(
    "mobile",
    settings=settings,
    clients=[Catalog, Notifications, Orders, Recommendations, Users],
    auth=BearerJwt(
        issuer=settings.issuer,
        audience=settings.audience,
        typ="at+jwt",
        jwks_url=f"{settings.services['identity'].url}/.well-known/jwks.json",
    ),
    app_life=AppLife(settings.app_file, reachable=["/bootstrap"], push=push),
)
app.page("/bootstrap", BootstrapPage)
app.page("/home", HomePage)
app.page("/products", ProductsPage, public=True)
app.page("/products/{product_id}", ProductPage, public=True)
app.page("/orders", OrdersPage)
app.page("/orders/{order_id}", OrderPage)
app.batch("/batch")
app.sync(
    "/sync",
    collections=COLLECTIONS,
    mutations=MUTATIONS,
    store=settings.sync_store,
    keys=[key for key in settings.sync_keys.get_secret_value().split(",") if key],
    on_poke=push.poke,
)
