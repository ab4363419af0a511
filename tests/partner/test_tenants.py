"""Whose data a principal gets: its tenant's, never that of a tenant which is called as it is itself."""

from __future__ import annotations

import pytest

from bff_core import Authorizer, AuthorizerRequest, Principal, Refused, Settings, create_bff
from bff_core.testing import bff_client
from bffs.partner.account import KeysPage, UsagePage
from bffs.partner.pages import OrderPage, OrdersPage
from bffs.partner.writes import ExportPage, StartExport, export_data
from shop.clients import Orders, partner
from tests.shop.conftest import Ask


async def who(request: AuthorizerRequest) -> Principal:
    subject, _, tenant = request.headers["x-who"].partition("@")
    return Principal(subject, tenant=tenant or None, issuer="https://issuer.example")


async def test_a_subject_is_no_partner(ask: Ask) -> None:
    """An issuer's user who is called acme sees nothing of the partner acme; its own people do."""
    settings = Settings.load(services={"orders": {"url": "http://orders.test"}}, log_level="CRITICAL")
    auth = Authorizer(who, identity=["x-who"])
    app = create_bff("t", settings=settings, clients=[Orders], auth=auth, transport=ask("orders")._transport)
    app.page("/orders", OrdersPage)
    app.page("/orders/{order_id}", OrderPage)
    async with bff_client(app) as client:
        theirs = await client.get("/orders", headers={"x-who": "ann@acme"})
        assert theirs.status_code == 200
        order = theirs.json()["items"][0]["id"]
        for path in ("/orders", f"/orders/{order}"):
            refused = await client.get(path, headers={"x-who": "acme"})
            assert (refused.status_code, order in refused.text) == (403, False)
        assert (await client.get(f"/orders/{order}", headers={"x-who": "ann@globex"})).status_code == 404


async def test_no_tenant_is_no_outage() -> None:
    """Who belongs to none is told so, and not to come again."""
    app = create_bff("t", settings=Settings(log_level="CRITICAL"), clients=[], auth=Authorizer(who, identity=["x-who"]))
    app.page("/usage", UsagePage)
    app.page("/keys", KeysPage)
    app.page("/exports", StartExport, method="POST")
    app.page("/exports/{export_id}", ExportPage)
    app.get("/exports/{export_id}/data")(export_data)
    export = f"/exports/exp_{'0' * 24}"
    async with bff_client(app) as client:
        for method, path in (
            ("GET", "/usage"),
            ("GET", "/keys"),
            ("POST", "/exports"),
            ("GET", export),
            ("GET", f"{export}/data"),
        ):
            body = {"of": "orders"} if method == "POST" else None
            answer = await client.request(method, path, json=body, headers={"x-who": "ann"})
            assert (path, answer.status_code, answer.headers.get("retry-after")) == (path, 403, None)


def test_no_tenant_no_partner() -> None:
    assert partner(Principal("ann", tenant="acme")) == "acme"
    with pytest.raises(Refused):
        partner(Principal("acme"))
