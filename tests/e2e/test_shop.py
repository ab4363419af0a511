"""The three gateways over the running shop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from shop.ports import PORTS

from .conftest import GATEWAYS, KEY, ROOT, Project, eventually, start

pytestmark = pytest.mark.e2e


def test_the_tour_said_so(project: Project) -> None:
    """What `bff up` showed on its way: the table with the calls, the outage, all as expected."""
    assert "All 8 checks as expected." in project.output, project.output
    assert "20 lines, 1 call" in project.output
    assert "_degraded ['reviews']" in project.output
    assert "✗" not in project.output
    assert f"In a browser: {project.url('web')} " in project.output


def test_three_shapes(project: Project) -> None:
    """The same product, three payloads."""
    mobile = project.get("mobile", "/products/p1").json()
    web = project.get("web", "/api/products/p1").json()
    first = project.get("partner", "/v1/products/p1", KEY).json()
    second = project.get("partner", "/v2/products/p1", KEY).json()
    assert set(mobile) == {"id", "name", "price", "thumbnail"}
    assert set(web) == {
        *("id", "name", "description", "price", "images", "specifications", "stock"),
        *("reviews", "review_summary", "related"),
    }
    assert (len(web["images"]), len(web["reviews"]), len(web["related"])) == (5, 10, 8)
    assert set(first) == {"id", "name", "description", "price", "currency"}
    assert {"title", "attributes"} <= set(second)
    assert mobile["name"] == web["name"] == first["name"] == second["title"]
    assert first["price"] == f"{mobile['price']['amount'] / 100:.2f}"


def test_lists_walk_to_their_end(project: Project) -> None:
    """A cursor leads through all of a user's orders, each once."""
    seen, cursor = [], ""
    while True:
        page = project.get("mobile", f"/orders?limit=5{cursor}", project.bearer()).json()
        seen += [order["id"] for order in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) >= 12
    assert seen[-1] == "o1"
    assert project.get("mobile", "/products?cursor=nonsense").status_code == 400


def test_home(project: Project) -> None:
    """The signed-in user's pages hold what they should."""
    web = project.get("web", "/api/home", project.bearer()).json()
    assert web["user"]["id"] == "u1"
    assert all(line["product"] for order in web["orders"] for line in order["lines"])
    assert web["notifications"]
    assert len(web["recommendations"]) == 8
    mobile = project.get("mobile", "/home", project.bearer()).json()
    assert mobile["name"] == web["user"]["name"]
    assert len(mobile["recommendations"]) == 4


def test_bootstrap_is_home_and_what_the_app_must_know(project: Project) -> None:
    """In one call; an app that is too old is refused everything else but its sync."""
    home = project.get("mobile", "/home", project.bearer()).json()
    for said, update in (("ios/99", "none"), ("ios/3.0.0", "available"), ("ios/2.9", "required")):
        headers = project.bearer() | {"app-version": said}
        page = project.get("mobile", "/bootstrap", headers).json()
        app = page.pop("app")
        assert (page, app["update"]) == (home, update)
        assert app["flags"].keys() == {"one-tap-order"}
        assert project.get("mobile", "/home", headers).status_code == (403 if update == "required" else 200)
        sync = httpx.post(project.url("mobile") + "/sync", headers=headers, json={"client": "c1"})
        assert sync.status_code == 200


def test_an_order_of_twenty_lines_asks_once(project: Project) -> None:
    """No N+1."""
    before = project.requests("catalog")
    order = project.get("web", "/api/orders/o1", project.bearer()).json()
    assert len(order["lines"]) == 20
    assert all(line["product"]["thumbnail"] for line in order["lines"])
    assert project.requests("catalog") - before == 1


def test_others_orders_are_not_there(project: Project) -> None:
    """Somebody else's order is a 404, as one that does not exist."""
    for gateway, path in (("web", "/api/orders/o1"), ("mobile", "/orders/o1")):
        assert project.get(gateway, path, project.bearer("u2")).status_code == 404
        assert project.get(gateway, path, project.bearer("u1")).status_code == 200
    for order in project.get("partner", "/v2/orders", KEY).json()["items"]:
        assert httpx.get(f"{project.url('orders')}/orders/{order['id']}").json()["partner_id"] == "acme"


def test_bad_credentials(project: Project) -> None:
    """Missing, mangled, expired or somebody else's: 401 and how to do better."""
    good = project.bearer()["authorization"]
    head, payload, signature = good.removeprefix("Bearer ").split(".")
    tokens = [
        None,
        "Bearer",
        "Bearer x",
        "Basic dTE6eA==",
        f"Bearer {head}.{payload}.",
        f"Bearer {head}.{payload}.{signature[:-4]}AAAA",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSJ9.",
        f"Bearer {'x' * 10_000}",
        project.bearer(lifetime=-3600)["authorization"],
    ]
    for token in tokens:
        for gateway, path in (("web", "/api/home"), ("mobile", "/orders")):
            answer = project.get(gateway, path, {"authorization": token} if token else {})
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
            # invalid_token only where there was one (RFC 6750 section 3.1)
            bare = token in (None, "Bearer", "Basic dTE6eA==")
            challenge = answer.headers["www-authenticate"].partition(", Cookie ")[0]
            assert challenge == ("Bearer" if bare else 'Bearer error="invalid_token"')
    assert project.get("partner", "/v1/products").status_code == 401
    assert (
        project.get(
            "partner", "/v1/products", {"x-api-key": "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNr"}
        ).status_code
        == 401
    )


@pytest.mark.parametrize(
    ("gateway", "path", "status"),
    [
        ("web", "/api/products/none", 404),
        ("web", "/api/products/%2e%2e", 400),
        ("web", "/api/products/p1?include=nope", 400),
        ("web", "/api/search", 422),
        ("web", "/api/search?q=" + "x" * 201, 422),
        ("web", "/api/search?q=" + "x" * 9000, 414),
        ("web", "/api/search?q=a&limit=many", 422),
        ("mobile", "/products?limit=0", 422),
        ("mobile", "/nothing", 404),
        ("mobile", "/products/p1?fields=secret", 400),
        ("mobile", "/products/" + "p" * 2000, 404),
        ("mobile", "/products/" + "p" * 3000, 414),
    ],
)
def test_bad_input(project: Project, gateway: str, path: str, status: int) -> None:
    """Every mistake is a problem document that says what was wrong."""
    answer = project.get(gateway, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert "Traceback" not in answer.text


def test_cart_and_order(project: Project) -> None:
    """Into the cart, ordered once, however often it is sent."""
    headers = project.bearer("u3")
    web = project.url("web")
    cart = httpx.post(f"{web}/api/cart/items", json={"product_id": "p1", "quantity": 2}, headers=headers)
    assert cart.status_code == 200
    assert cart.json()["lines"][0]["quantity"] == 2
    unknown = httpx.post(f"{web}/api/cart/items", json={"product_id": "none"}, headers=headers)
    assert (unknown.status_code, unknown.json()["detail"]) == (422, "There is no product none.")
    key = {"idempotency-key": uuid4().hex}
    answers = [httpx.post(f"{web}/api/orders", json={}, headers=headers | key) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
    assert httpx.post(f"{web}/api/orders", json={}, headers=headers).status_code == 400
    order = answers[0].json()
    assert order["total"]["amount"] == 2 * order["lines"][0]["unit_price"]["amount"]
    other = httpx.post(f"{web}/api/orders", json={"lines": [{"product_id": "p2"}]}, headers=headers | key)
    assert other.status_code == 422
    empty = httpx.post(f"{web}/api/orders", json={}, headers=headers | {"idempotency-key": uuid4().hex})
    assert (empty.status_code, empty.json()["detail"]) == (409, "There is nothing to order.")
    assert httpx.post(f"{web}/api/orders", json={}).status_code == 401


def test_degrades(whole: Project) -> None:
    """Without the reviews the page is there and says so; slow ones are not waited for beyond their time."""
    seen = whole.get("web", "/api/products/p1").json()
    whole.fault("reviews", down=True)
    answer = whole.get("web", "/api/products/p1")
    assert answer.status_code == 200
    assert answer.json() == seen | {"_degraded": ["reviews"]}
    never_seen = whole.get("web", "/api/products/p1234").json()
    assert never_seen["_degraded"] == ["reviews"]
    assert (never_seen["reviews"], never_seen["review_summary"]) == ([], None)
    whole.fault("reviews", latency_ms=5000)
    answer = whole.get("web", "/api/products/p1")
    assert (answer.status_code, answer.json()["_degraded"]) == (200, ["reviews"])
    total = next(part for part in answer.headers["server-timing"].split(", ") if part.startswith("total"))
    assert float(total.partition("dur=")[2]) < 2500


@pytest.mark.parametrize(
    ("faults", "status"), [({"down": True}, 503), ({"error_rate": 1}, 502), ({"latency_ms": 5000}, 504)]
)
def test_required_service_fails(whole: Project, faults: dict[str, float], status: int) -> None:
    """Without the catalog there is no product page, and the problem says of which kind."""
    whole.fault("catalog", **faults)
    for gateway, path in (("web", "/api/products/p1"), ("mobile", "/products/p1")):
        answer = whole.get(gateway, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_total_outage_is_not_amplified(whole: Project) -> None:
    """Counted by the service itself: what it is asked while it is down is a fraction of what the gateway is asked."""
    whole.fault("catalog", down=True)
    before = whole.requests("catalog")
    arrivals = 300
    with httpx.Client(base_url=whole.url("mobile")) as client:
        statuses = {client.get(f"/products/p{number}").status_code for number in range(1, arrivals + 1)}
    assert statuses == {503}
    assert whole.requests("catalog") - before <= 1.2 * arrivals + 100
    assert whole.requests("catalog") - before < arrivals / 3


@pytest.mark.parametrize("service", sorted(PORTS))
def test_kill_9(whole: Project, service: str) -> None:
    """Any service may die at any time: gateways answer, stay the same processes, and the dead one comes back."""
    gateways = {name: whole.pid_at(name) for name in GATEWAYS}
    victim = whole.pid_at(service)
    os.kill(victim, signal.SIGKILL)
    pages = [
        ("web", "/api/products/p1", {}),
        ("web", "/api/home", whole.bearer()),
        ("web", "/api/orders/o1", whole.bearer()),
        ("mobile", "/home", whole.bearer()),
        ("mobile", "/products/p1", {}),
        ("partner", "/v1/products/p1", KEY),
        ("partner", "/v1/orders", KEY),
    ]
    for gateway, path, headers in pages:
        answer = whole.get(gateway, path, headers)
        assert answer.status_code in (200, 502, 503, 504)
        assert "Traceback" not in answer.text
    assert {name: whole.pid_at(name) for name in GATEWAYS} == gateways
    eventually(lambda: whole.pid_at(service) not in (0, victim), f"{service} is started again")
    for gateway, path, headers in pages:
        eventually(lambda g=gateway, p=path, h=headers: whole.get(g, p, h).status_code == 200, f"{gateway} {path}")


def test_in_flight_requests_are_finished(whole: Project, tmp_path: Path) -> None:
    """A gateway told to stop answers what it has begun, and ends with success."""
    port = whole.base + 50
    env = {**os.environ, "BFF_SERVICES__CATALOG__URL": whole.url("catalog")}
    command = [sys.executable, "-m", "bff_core.cli", "serve", "bffs.mobile.app:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as process:
        ready = f"http://127.0.0.1:{port}/health/ready"

        def is_ready() -> bool:
            try:
                return httpx.get(ready).status_code == 200
            except httpx.ConnectError:
                return False

        eventually(is_ready, "the gateway is ready")
        whole.fault("catalog", latency_ms=700)
        before, answers = whole.requests("catalog"), []
        asking = threading.Thread(
            target=lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/products/p1", timeout=20))
        )
        asking.start()
        # The service counts a request when it is done with it; the access log would tell no earlier.
        eventually(lambda: asking.is_alive() or answers, "the request is on its way")
        threading.Event().wait(0.2)
        process.send_signal(signal.SIGTERM)
        asking.join(20)
        assert process.wait(20) == 0
    assert [answer.status_code for answer in answers] == [200]
    assert whole.requests("catalog") == before + 1


def test_a_second_project_says_which_port_is_taken(project: Project) -> None:
    """Whose it is as well, and how to move."""
    second = start(project.base, project.data)
    assert second.process.wait(20) == 2
    assert f"{project.base + 1} (mobile): held by python" in second.output.replace("\n", " ")
    assert "--port-base" in second.output


@pytest.mark.timeout(180)  # a dozen processes
def test_killed_it_leaves_nothing_behind(project: Project) -> None:
    """The death of the supervisor stops everything, as Ctrl-C does at the end of these tests; tests/cli has more."""
    other = start(project.base + 200, project.data)
    assert other.process.poll() is None, other.output
    other.process.kill()
    assert other.process.wait(30) == -signal.SIGKILL
    other.all_gone()
