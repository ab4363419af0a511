"""What a partner's program does, against the running project: orders, exports, events, and everything twice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bff_core.cli.supervisor import port_holder
from bff_core.webhooks import Verifier
from tests.ops.browser import chromium, open_browser
from tests.webhooks.receiver import Got, Receiver

from .conftest import GATEWAYS, KEY, ROOT, Project, eventually

pytestmark = pytest.mark.e2e
LINES = {"lines": [{"product_id": "p1", "quantity": 2}]}
TYPE = "document.getElementById('key').value = %s; document.getElementById('in').requestSubmit()"
PROBLEM = "application/problem+json"


@pytest.fixture
def acme(project: Project) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=project.url("partner"), headers=KEY, timeout=20) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """In a thread of its own: the tests are none of asyncio."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = Receiver()
    asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(10)
    yield running
    asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def once(key: str | None = None) -> dict[str, str]:
    return {"idempotency-key": key or str(uuid4())}


def place(acme: httpx.Client, **headers: str) -> Any:
    answer = acme.post("/orders", json=LINES, headers={**once(), **headers})
    assert answer.status_code == 201, answer.text
    return answer.json()


def enabled(acme: httpx.Client, url: str, version: str) -> dict[str, Any]:
    made = acme.post("/webhooks/endpoints", json={"url": url, "types": ["*"]}, headers={"api-version": version})
    assert made.status_code == 201, made.text
    endpoint: dict[str, Any] = made.json()
    assert acme.post(f"/webhooks/endpoints/{endpoint['id']}/verify").json()["ok"]
    return endpoint


def test_an_order_is_placed_once(acme: httpx.Client) -> None:
    """However often it is sent, in the version it is sent in; it can be read and cancelled, each once."""
    key = once()
    first = acme.post("/v1/orders", json=LINES, headers=key)
    again = acme.post("/v1/orders", json=LINES, headers=key)
    other = acme.post("/v1/orders", json={"lines": [{"product_id": "p1"}]}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 201, 422)
    assert again.content == first.content
    assert again.headers["idempotency-replayed"] == "true"
    assert set(first.json()) == {"id", "status", "total", "currency", "lines"}
    assert acme.post("/orders", json=LINES).status_code == 400
    path = f"/orders/{first.json()['id']}"
    head = acme.get(path).json()
    assert head["total"]["amount"] == int(first.json()["total"].replace(".", ""))
    assert acme.get("/orders", params={"limit": 1}).json()["items"][0] == head
    cancelled = acme.post(f"{path}/cancel", headers=once())
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert acme.post(f"{path}/cancel", headers=once()).status_code == 409
    assert acme.get("/orders/o1").status_code == 404


def test_lists_by_their_links(acme: httpx.Client) -> None:
    """Each order once, the newest first, and what comes meanwhile disturbs nobody."""
    for path in ("/orders", "/v1/orders"):
        seen, url = [], f"{path}?limit=7"
        for _ in range(5):
            answer = acme.get(url)
            seen += [order["id"] for order in answer.json()["items"]]
            url = str(answer.url.join(answer.links["next"]["url"]))
            assert url.startswith(f"{acme.base_url.join(path)}?limit=7&cursor=")
            place(acme)
        assert len(set(seen)) == len(seen) == 35
    assert "link" not in acme.get("/usage").headers
    assert acme.get("/orders?cursor=nonsense").status_code == 400


def test_problems_have_types(acme: httpx.Client) -> None:
    """A URI for each, which says what to do; and an id to quote, the same in header and document."""
    for answer, slug in (
        (acme.get("/orders/none"), "not-found"),
        (acme.get("/nowhere"), "not-found"),
        (acme.post("/orders", json=LINES), "bad-request"),
        (acme.post("/orders", json={"lines": []}, headers=once()), "unprocessable-content"),
        (acme.get("/products", headers={"x-api-key": "x"}), "unauthorized"),
        (acme.get("/products", headers={"api-version": "2020-01-01"}), "bad-request"),
        (acme.request("PATCH", "/products"), "method-not-allowed"),
        (acme.post("/orders", json={"lines": [{"product_id": "none"}]}, headers=once()), "unprocessable-content"),
    ):
        document = answer.json()
        assert answer.headers["content-type"] == PROBLEM
        assert document["type"] == f"/problems/{slug}", document
        assert document["instance"] == f"urn:request:{answer.headers['x-request-id']}"
        page = httpx.get(str(answer.url.join(document["type"])))
        assert page.status_code == 200
        assert document["type"] in page.text


def test_an_export(acme: httpx.Client) -> None:
    """202, a resource that says how far it is, the rows in the version that was asked for; nobody else's business."""
    key = once()
    begun = acme.post("/exports", json={}, headers={**key, "api-version": "v1"})
    assert begun.status_code == 202
    assert acme.post("/exports", json={}, headers={**key, "api-version": "v1"}).json() == begun.json()
    where = begun.headers["location"]
    eventually(lambda: acme.get(where).json()["state"] == "done", "the export is done")
    status = acme.get(where).json()
    data = acme.get(status["data"])
    assert data.headers["content-type"].startswith("application/x-ndjson")
    rows = [json.loads(line) for line in data.text.splitlines()]
    assert len(rows) == status["rows"] == len({row["id"] for row in rows}) > 100
    assert set(rows[0]) == {"id", "status", "total", "currency", "lines"}
    assert acme.get("/exports/exp_000000000000000000000000").status_code == 404
    assert httpx.get(f"{acme.base_url}{status['data']}").status_code == 401


def test_events_survive_everything(project: Project, acme: httpx.Client, receiver: Receiver) -> None:
    """Gateway and orders service are killed right after orders were acknowledged: each order is told of, in the version
    of the endpoint, under one id."""
    endpoint = enabled(acme, receiver.url("hook"), "2024-11-01")
    assert endpoint["version"] == "2024-11-01"
    placed = []
    for victim in ("partner", "orders", "partner"):
        placed += [place(acme)["id"] for _ in range(3)]
        kill(project, victim)
        eventually(lambda: answers(acme), "the gateway is back")
    verify = Verifier([endpoint["secret"]]).verify

    def told() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for got in list(receiver.got["hook"]):
            body = json.loads(got.body)
            if body["type"] == "order.created":
                found.setdefault(body["data"]["id"], set()).add(got.id)
        return found

    eventually(lambda: set(placed) <= told().keys(), "every order was told of")
    assert all(len(ids) == 1 for ids in told().values())
    for got in receiver.got["hook"]:
        verify(got.body, got.headers)
        assert isinstance(got, Got)
    body = json.loads(receiver.got["hook"][-1].body)
    assert body["api_version"] == "2024-11-01"
    assert "currency" in body["data"]
    assert acme.delete(f"/webhooks/endpoints/{endpoint['id']}").status_code == 204


def answers(acme: httpx.Client) -> bool:
    try:
        return acme.get("/orders?limit=1").status_code == 200
    except httpx.TransportError:
        return False


def kill(project: Project, name: str) -> None:
    from shop.ports import PORTS

    holder = port_holder((GATEWAYS | PORTS)[name] - 8000 + project.base)
    assert holder is not None
    os.kill(int(holder.rpartition(" ")[2].rstrip(")")), signal.SIGKILL)


def test_usage_and_keys(acme: httpx.Client) -> None:
    """What was asked is counted; the key knows itself, and is not shown."""
    before = acme.get("/usage").json()
    for _ in range(3):
        acme.get("/products?limit=1")
    answer = acme.get("/usage")
    assert answer.json()["month"] - before["month"] >= 4
    assert answer.json()["plan"] == "gold"
    assert answer.json()["limits"] == {"throttle": ["100/second", 200], "month": 1_000_000}
    assert "ratelimit-policy" in answer.headers
    keys = acme.get("/keys")
    assert KEY["x-api-key"] not in keys.text
    assert [key["current"] for key in keys.json()["items"]] == [True]


def test_the_portal(project: Project, acme: httpx.Client, receiver: Receiver, tmp_path: Path) -> None:
    """In a browser: the key is typed, its account is shown, a delivery is sent again; a bad key shows nothing. Nothing
    is stored, nothing is asked of anybody else, and the page's policy is not violated."""
    binary = chromium()
    if binary is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    endpoint = enabled(acme, receiver.url("portal"), "2026-05-01")
    order = place(acme)["id"]
    eventually(lambda: any(order.encode() in got.body for got in receiver.got["portal"]), "the order was told of")
    came = len(receiver.got["portal"])
    url = f"{project.url('partner')}/portal"
    with open_browser(binary, tmp_path / "profile") as tab:
        tab.look(url, height=1000)
        tab.run(TYPE % json.dumps("bff_test_wrong"))
        tab.until("document.getElementById('problem').textContent.includes('Unauthorized')", "the key is refused")
        eventually(lambda: tab.run("1") and len(tab.problems) >= 3, "all that it asks for is refused")
        assert [problem for problem in tab.problems if "401" not in problem] == []
        tab.problems.clear()
        tab.run(TYPE % json.dumps(KEY["x-api-key"]))
        tab.until("!document.getElementById('account').hidden", "the account is shown")
        tab.run("[...document.querySelectorAll('#endpoints button')].at(-1).click()")
        tab.until("document.querySelectorAll('#deliveries button').length", "the deliveries are shown")
        text = tab.run("document.body.innerText")
        for shown in ("acme", "gold", "100/second", "(this one)", endpoint["url"], "order.created", "delivered"):
            assert shown in text, shown
        assert KEY["x-api-key"] not in tab.run("document.documentElement.outerHTML")
        assert tab.run("document.getElementById('key').value") == ""
        assert tab.run("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        if os.environ.get("PICTURES"):
            tab.screenshot(ROOT / "docs" / "images" / "portal.png", whole=True)
        tab.run("document.querySelector('#deliveries button').click()")
        eventually(lambda: len(receiver.got["portal"]) > came, "it came again")
        tab.run("document.getElementById('out').click()")
        assert "acme" not in tab.run("document.body.innerText")
        assert tab.problems == []
        assert all(asked.startswith(project.url("partner")) or asked == "data:," for asked in tab.requests)
        assert not any("bff_test" in asked for asked in tab.requests)
    assert acme.delete(f"/webhooks/endpoints/{endpoint['id']}").status_code == 204


def test_the_quick_start(project: Project, tmp_path: Path) -> None:
    """As docs/partners.md has it: with curl, and with Python."""
    text = (ROOT / "docs" / "partners.md").read_text()
    (shell,) = re.findall(r"^```\n(export API.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (python,) = re.findall(r"^```python\n(# quick_start.py\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    given = {**os.environ, "API": project.url("partner"), "KEY": KEY["x-api-key"]}
    commands = shell.partition("\n")[2].replace("curl ", "curl -sS --fail-with-body ")
    ran = subprocess.run(["sh", "-ec", commands], env=given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"title"' in ran.stdout
    assert '"status":"paid"' in ran.stdout
    (tmp_path / "quick_start.py").write_text(python)
    said = subprocess.run([sys.executable, "quick_start.py"], cwd=tmp_path, env=given, capture_output=True, check=True)
    ordered, orders, exported = said.stdout.decode().split("\n")[:3]
    assert ordered.startswith("ordered o")
    assert orders.split()[1] == exported.split()[1] != "0"


def test_documents(acme: httpx.Client) -> None:
    """For people, each version."""
    for version, member in (("2024-11-01", "currency"), ("2026-05-01", "unit_price")):
        page = httpx.get(str(acme.base_url.join(f"/docs/{version}")))
        assert page.status_code == 200
        assert member in page.text
        assert "order.created" in page.text
