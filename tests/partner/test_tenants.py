"""Whose data a principal gets: its tenant's, never that of a tenant which is called as it is itself."""

from __future__ import annotations

import pytest

from bff_core import Authorizer, AuthorizerRequest, Principal, Refused, Settings, create_bff
from bff_core.testing import bff_client
from bffs.partner.pages import OrderPage, OrdersPage
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


def test_no_tenant_no_partner() -> None:
    assert partner(Principal("ann", tenant="acme")) == "acme"
    with pytest.raises(Refused):
        partner(Principal("acme"))
