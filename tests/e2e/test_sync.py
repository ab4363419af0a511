"""The mobile gateway's sync over the running shop: orders and cart, written offline."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import Project

pytestmark = pytest.mark.e2e


class App:
    """What an app of user ``user`` has."""

    def __init__(self, project: Project, user: str, client: str = "app") -> None:
        self.project, self.headers, self.client = project, project.bearer(user), client
        self.token: str | None = None
        self.items: dict[str, dict[str, Any]] = {}
        self.seq = 0
        self.size = 0

    def sync(self, *mutations: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        outbox = []
        for op, args in mutations:
            self.seq += 1
            outbox.append({"seq": self.seq, "id": f"m{self.seq}", "op": op, "args": args})
        answer: dict[str, Any] = {"more": True}
        results: list[Any] = []
        while answer["more"]:
            message = {"client": self.client, "token": self.token, "limit": 30, "mutations": outbox}
            response = httpx.post(self.project.url("mobile") + "/sync", json=message, headers=self.headers, timeout=20)
            assert response.status_code == 200, response.text
            answer, self.size = response.json(), len(response.content)
            self.token = answer["token"]
            results = results or answer.get("results", [])
            for name, part in answer["collections"].items():
                items = self.items.setdefault(name, {})
                if part.get("reset"):
                    items.clear()
                items |= {item["id"]: item for item in part.get("put", ())}
                for key in part.get("del", ()):
                    items.pop(key, None)
        return {**answer, "results": results}


def test_orders_and_cart(whole: Project) -> None:
    user = "u77"
    app, other = App(whole, user), App(whole, user, "tablet")
    app.sync()
    rows, cursor = [], None
    while True:
        page = whole.get("mobile", "/orders?limit=50" + (f"&cursor={cursor}" if cursor else ""), app.headers).json()
        rows += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert app.items["orders"] == {row["id"]: {**row, "_v": app.items["orders"][row["id"]]["_v"]} for row in rows}
    app.sync(*[("cart.remove", {"product_id": product_id}) for product_id in app.items["cart"]])
    assert app.items["cart"] == {}
    # Without news: a few bytes.
    app.sync()
    assert app.size <= 300
    # Offline work arrives in its order.
    begin = app.seq
    answer = app.sync(
        ("cart.add", {"item": {"product_id": "p1", "quantity": 2}}),
        ("cart.add", {"item": {"product_id": "p2"}}),
        ("cart.remove", {"product_id": "p2"}),
        ("cart.add", {"item": {"product_id": "none"}}),
    )
    assert [result["status"] for result in answer["results"]] == ["applied", "applied", "applied", "rejected"]
    assert answer["ack"] == begin + 4
    assert [(line["id"], line["quantity"]) for line in app.items["cart"].values()] == [("p1", 2)]
    # What was sent before is not done again.
    app.seq = begin
    app.sync(("cart.add", {"item": {"product_id": "p1", "quantity": 2}}))
    assert app.items["cart"]["p1"]["quantity"] == 2
    app.seq = begin + 4
    # An order empties the cart, and can be cancelled once.
    before = set(app.items["orders"])
    answer = app.sync(("order.place", {"new": {}}))
    assert answer["results"] == [{"id": f"m{begin + 5}", "status": "applied"}]
    assert app.items["cart"] == {}
    (order_id,) = set(app.items["orders"]) - before
    other.sync()
    answer = app.sync(("order.cancel", {"order_id": order_id}))
    assert app.items["orders"][order_id]["status"] == "cancelled"
    answer = other.sync(("order.cancel", {"order_id": order_id}))
    assert answer["results"][0]["status"] == "conflict"
    assert answer["results"][0]["item"]["status"] == "cancelled"


def test_an_order_of_somebody_else(whole: Project) -> None:
    mine, other = App(whole, "u3"), App(whole, "u4")
    mine.sync()
    other.sync()
    order_id = next(iter(mine.items["orders"]))
    answer = other.sync(
        ("order.cancel", {"order_id": order_id}), ("order.cancel", {"order_id": order_id, "user_id": "u3"})
    )
    assert [result["status"] for result in answer["results"]] == ["rejected", "rejected"]


def test_an_outage_of_the_orders_service(whole: Project) -> None:
    app = App(whole, "u5")
    app.sync()
    before = dict(app.items["orders"])
    whole.fault("orders", down=True)
    answer = app.sync(("cart.add", {"item": {"product_id": "p1"}}))
    assert answer["results"][0]["status"] == "retry"
    assert answer["stale"] == ["orders", "cart"]
    assert app.items["orders"] == before
