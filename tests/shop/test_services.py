"""The services' contracts."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from shop.seed import is_seeded, seed
from shop.seeding.database import SCHEMA
from shop.services.identity import AUDIENCE, ISSUER, create_app, issue_token

from .conftest import Ask


def dump(folder: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    rows = {}
    for service in SCHEMA:
        connection = sqlite3.connect(folder / f"{service}.db")
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows |= {f"{service}.{table}": connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        connection.close()
    return rows


def test_seeding(seeded: Path, tmp_path: Path) -> None:
    """The same rows every time, as many as there should be; a seeding that died is done again."""
    (tmp_path / "orders.db").write_bytes(b"half a file")
    assert not is_seeded(tmp_path)
    seed(tmp_path)
    first, second = dump(seeded), dump(tmp_path)
    assert first == second
    counts = {table: len(rows) for table, rows in first.items()}
    assert counts["catalog.products"] == 2000
    assert counts["users.users"] == 5000
    assert counts["orders.orders"] == 20_000
    assert counts["reviews.reviews"] == 30_000
    assert counts["inventory.stock"] == 2000
    assert min(
        counts[f"{table}"] for table in ("orders.cart_lines", "payments.payments", "notifications.notifications")
    )
    stamp = (tmp_path / "orders.db").stat().st_mtime_ns
    seed(tmp_path)
    assert (tmp_path / "orders.db").stat().st_mtime_ns == stamp


def test_recommendations_are_counted(seeded: Path) -> None:
    """The score of a pair is the number of orders that hold both."""
    rows = dump(seeded)
    orders: dict[str, list[str]] = {}
    for order_id, _, product_id, *_ in rows["orders.lines"]:
        orders.setdefault(order_id, []).append(product_id)
    counted: Counter[tuple[str, str]] = Counter()
    for products in orders.values():
        counted.update(permutations(products, 2))
    assert {(one, other): score for one, other, score in rows["recommendations.related"]} == counted


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("catalog", "/products?"),
        ("catalog", "/products?category=garden&"),
        ("catalog", "/products?q=lamp&"),
        ("users", "/users?"),
        ("reviews", "/products/p1/reviews?"),
        ("orders", "/orders?user_id=u1&"),
        ("orders", "/orders?partner_id=acme&"),
        ("notifications", "/users/u1/notifications?"),
    ],
)
async def test_listings_walk_without_gap_or_double(ask: Ask, service: str, path: str) -> None:
    """However long the pages are, all of them together are the same list."""
    walks = []
    for limit in (7, 100):
        seen, cursor = [], ""
        while len(seen) < 600:
            page = (await ask(service).get(f"{path}limit={limit}{cursor}")).json()
            seen += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert len(seen) == len(set(seen))
        walks.append(seen)
    shortest = min(map(len, walks))
    assert shortest
    assert walks[0][:shortest] == walks[1][:shortest]
    for bad in ("x", "MQ", "c" * 200, "%00"):
        assert (await ask(service).get(f"{path}cursor={bad}")).status_code == 400
    for limit in ("0", "101", "x"):
        assert (await ask(service).get(f"{path}limit={limit}")).status_code == 422


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("catalog", "/products/none"),
        ("users", "/users/none"),
        ("orders", "/orders/none"),
        ("inventory", "/stock/none"),
        ("payments", "/payments/none"),
        ("catalog", "/none"),
        ("orders", "/orders/o1?user_id=u2"),
        ("orders", "/orders/o1?partner_id=acme"),
    ],
)
async def test_unknown(ask: Ask, service: str, path: str) -> None:
    """404, as a problem document."""
    answer = await ask(service).get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_look_up_by_many_ids(ask: Ask) -> None:
    """In the order asked for, each once, without those that are not there; a hundred at the most."""
    for service, path, key in (
        ("catalog", "/products", "id"),
        ("users", "/users", "id"),
        ("inventory", "/stock", "product_id"),
    ):
        first = "u" if service == "users" else "p"
        ids = [f"{first}3", "none", f"{first}1", f"{first}3"]
        answer = await ask(service).get(path, params={"ids": ids})
        assert [item[key] for item in answer.json()["items"]] == [f"{first}3", f"{first}1"]
        assert (await ask(service).get(path, params={"ids": ["x"] * 101})).status_code == 422


async def test_search_is_literal(ask: Ask) -> None:
    """LIKE's wildcards are letters like any other."""
    for q, found in (("%", False), ("_", False), ("LAMP", True), ("söhne", True), ("'; --", False)):
        items = (await ask("catalog").get("/products", params={"q": q})).json()["items"]
        assert bool(items) is found


async def test_etags(ask: Ask) -> None:
    """Who has it gets a 304; another body has another tag."""
    catalog = ask("catalog")
    first = await catalog.get("/products/p1")
    tag = first.headers["etag"]
    for header in (tag, f'"x", W/{tag}', "*"):
        again = await catalog.get("/products/p1", headers={"if-none-match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await catalog.get("/products/p2", headers={"if-none-match": tag})
    assert other.status_code == 200
    assert other.headers["etag"] != tag


async def test_faults(ask: Ask, data: Path) -> None:
    """Down, failing and well again; refused unless allowed."""
    catalog = ask("catalog")
    assert (await catalog.put("/_faults", json={"down": True})).json()["down"] is True
    answer = await catalog.get("/products/p1")
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
    assert (await catalog.get("/health")).status_code == 503
    await catalog.put("/_faults", json={"error_rate": 1})
    assert (await catalog.get("/products/p1")).status_code == 500
    assert (await catalog.put("/_faults", json={})).json() == {
        "latency_ms": 0,
        "jitter_ms": 0,
        "error_rate": 0,
        "down": False,
    }
    assert (await catalog.get("/products/p1")).status_code == 200
    assert (await catalog.get("/_stats")).json()["requests"] == 3
    assert (await catalog.delete("/_stats")).status_code == 204
    for wrong in ({"error_rate": 2}, {"latency_ms": -1}, {"nope": 1}):
        assert (await catalog.put("/_faults", json=wrong)).status_code == 422
    strict = create_app(data)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(strict), base_url="http://x") as client:
        for method, path in (("PUT", "/_faults"), ("GET", "/_faults"), ("GET", "/_stats"), ("DELETE", "/_stats")):
            assert (await client.request(method, path, json={})).status_code == 403


async def test_an_order_is_placed_once(ask: Ask) -> None:
    """Ten at once under one key are one order, one payment, one reservation."""
    orders = ask("orders")
    before = (await ask("inventory").get("/stock/p1")).json()["available"]
    body = {"user_id": "u9", "lines": [{"product_id": "p1", "quantity": 3}, {"product_id": "p2"}]}
    answers = await asyncio.gather(
        *(orders.post("/orders", json=body, headers={"idempotency-key": "key-1"}) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    order = answers[0].json()
    assert answers[0].headers["location"] == f"/orders/{order['id']}"
    assert order["total"]["amount"] == sum(line["quantity"] * line["unit_price"]["amount"] for line in order["lines"])
    assert (await ask("inventory").get("/stock/p1")).json()["available"] == before - 3
    assert len((await ask("payments").get("/payments", params={"order_id": order["id"]})).json()["items"]) == 1
    other = await orders.post("/orders", json=body | {"lines": []}, headers={"idempotency-key": "key-1"})
    assert other.status_code == 422
    theirs = await orders.post("/orders", json=body | {"user_id": "u8"}, headers={"idempotency-key": "key-1"})
    assert theirs.json()["id"] != order["id"]
    assert (await orders.post("/orders", json=body)).status_code == 400
    cancelled = await orders.post(f"/orders/{order['id']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert (await orders.post(f"/orders/{order['id']}/cancel")).status_code == 409


async def test_stock_is_never_oversold(ask: Ask) -> None:
    """As many pieces are sold as there are; an order that cannot be paid gives its goods back."""
    stock = (await ask("inventory").get("/stock/p1")).json()["available"]
    buys = [
        ask("orders").post(
            "/orders",
            json={"user_id": "u9", "lines": [{"product_id": "p1", "quantity": 90}]},
            headers={"idempotency-key": f"k{number}"},
        )
        for number in range(8)
    ]
    statuses = Counter(answer.status_code for answer in await asyncio.gather(*buys))
    assert statuses == {201: stock // 90, 409: 8 - stock // 90}
    left = (await ask("inventory").get("/stock/p1")).json()["available"]
    assert left == stock - 90 * (stock // 90)
    await ask("payments").put("/_faults", json={"down": True})
    one = {"user_id": "u9", "lines": [{"product_id": "p1", "quantity": 1}]}
    failed = await ask("orders").post("/orders", json=one, headers={"idempotency-key": "unpaid"})
    assert failed.status_code == 503
    assert (await ask("inventory").get("/stock/p1")).json()["available"] == left
    await ask("payments").put("/_faults", json={})
    assert (await ask("orders").post("/orders", json=one, headers={"idempotency-key": "unpaid"})).status_code == 201


async def test_cart(ask: Ask) -> None:
    """Filled, emptied, ordered."""
    orders = ask("orders")
    assert (await orders.get("/carts/u2")).json()["lines"] == []
    await orders.post("/carts/u2/items", json={"product_id": "p1", "quantity": 2})
    cart = (await orders.post("/carts/u2/items", json={"product_id": "p1"})).json()
    assert [(line["product_id"], line["quantity"]) for line in cart["lines"]] == [("p1", 3)]
    assert cart["total"]["amount"] == 3 * cart["lines"][0]["unit_price"]["amount"]
    assert (await orders.post("/carts/u2/items", json={"product_id": "p1", "quantity": 97})).status_code == 409
    assert (await orders.post("/carts/u2/items", json={"product_id": "none"})).status_code == 422
    assert (await orders.post("/carts/u2/items", json={"product_id": "p1", "quantity": 0})).status_code == 422
    for wanted in (99, 5):
        cart = (await orders.put("/carts/u2/items/p1", json={"quantity": wanted})).json()
        assert [(line["product_id"], line["quantity"]) for line in cart["lines"]] == [("p1", wanted)]
    assert (await orders.put("/carts/u2/items/none", json={"quantity": 1})).status_code == 422
    assert (await orders.put("/carts/u2/items/p1", json={"quantity": 100})).status_code == 422
    assert (await orders.put("/carts/u2/items/p1", json={"quantity": 0})).json()["lines"] == []
    await orders.put("/carts/u2/items/p1", json={"quantity": 1})
    assert (await orders.delete("/carts/u2/items/p1")).json()["lines"] == []
    nothing = await orders.post("/orders", json={"user_id": "u2"}, headers={"idempotency-key": "k"})
    assert nothing.status_code == 409


async def test_reviews(ask: Ask) -> None:
    """A new review is the newest, and counts."""
    reviews = ask("reviews")
    before = (await reviews.get("/products/p1/summary")).json()
    new = {"user_id": "u1", "author": "Ünal 🙂", "rating": 5, "title": "Ja", "text": "!"}
    assert (await reviews.post("/products/p1/reviews", json=new)).status_code == 201
    listing = (await reviews.get("/products/p1/reviews?limit=1")).json()
    assert listing["items"][0]["author"] == "Ünal 🙂"
    assert listing["summary"]["count"] == before["count"] + 1
    assert (await reviews.post("/products/p1/reviews", json=new | {"rating": 6})).status_code == 422
    empty = (await reviews.get("/summaries", params={"ids": ["none", "p1"]})).json()["items"]
    assert [(entry["count"], entry["average"] is None) for entry in empty] == [(0, True), (before["count"] + 1, False)]


async def test_related(ask: Ask) -> None:
    """Best first, and never what the user has."""
    related = (await ask("recommendations").get("/products/p1/related")).json()["items"]
    assert len(related) == 8
    assert [entry["score"] for entry in related] == sorted((entry["score"] for entry in related), reverse=True)
    mine = (await ask("recommendations").get("/users/u1/recommendations")).json()["items"]
    orders = (await ask("orders").get("/orders", params={"user_id": "u1", "limit": 100})).json()["items"]
    owned = {line["product_id"] for order in orders for line in order["lines"]}
    assert mine
    assert not owned & {entry["product_id"] for entry in mine}


async def test_notifications(ask: Ask) -> None:
    """Read ones are not unread."""
    service = ask("notifications")
    unread = (await service.get("/users/u1/notifications?unread=true")).json()["items"]
    assert unread
    assert (await service.post(f"/notifications/{unread[0]['id']}/read")).json()["read"] is True
    left = (await service.get("/users/u1/notifications?unread=true")).json()["items"]
    assert unread[0]["id"] not in {item["id"] for item in left}
    assert (await service.post("/notifications/none/read")).status_code == 404


async def test_tokens(ask: Ask, data: Path) -> None:
    """What identity signs, its published keys verify; the private one is its owner's alone."""
    token = (await ask("identity").post("/token", json={"user_id": "u1"})).json()["access_token"]
    keys = KeySet.import_key_set((await ask("identity").get("/.well-known/jwks.json")).json())
    assert "d" not in json.dumps([key.as_dict() for key in keys.keys]).split('"')
    for signed in (token, issue_token(data, "u1")):
        decoded = jwt.decode(signed, keys, algorithms=["RS256"])
        assert decoded.header["kid"]
        assert {name: decoded.claims[name] for name in ("iss", "aud", "sub")} == {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "u1",
        }
    assert (data / "identity-key.pem").stat().st_mode & 0o777 == 0o600
    assert (await ask("identity").post("/token", json={"user_id": "none"})).status_code == 404
    with pytest.raises(LookupError):
        issue_token(data, "none")


async def test_writes_are_done_once_for_a_key(ask: Ask) -> None:
    orders = ask("orders")
    key = {"idempotency-key": "k1"}
    for _ in range(3):
        cart = (await orders.post("/carts/u9/items", json={"product_id": "p1", "quantity": 2}, headers=key)).json()
        assert cart["lines"][0]["quantity"] == 2
    changed = await orders.post("/carts/u9/items", json={"product_id": "p1", "quantity": 3}, headers=key)
    assert changed.status_code == 422
    other = await orders.post("/carts/u8/items", json={"product_id": "p1", "quantity": 3}, headers=key)
    assert other.json()["lines"][0]["quantity"] == 3
    order = (await orders.post("/orders", json={"user_id": "u9"}, headers=key)).json()
    cancel = f"/orders/{order['id']}/cancel"
    assert (await orders.post(cancel, params={"user_id": "u8"}, headers=key)).status_code == 404
    for _ in range(2):
        cancelled = await orders.post(cancel, params={"user_id": "u9"}, headers={"idempotency-key": "k2"})
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert (await orders.post(cancel, headers={"idempotency-key": "k3"})).status_code == 409
