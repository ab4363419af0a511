"""Schemathesis over each gateway's OpenAPI: what the document says is what the gateway does, whatever is asked."""

from __future__ import annotations

import asyncio
import functools
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance

import bff_core
from bff_core import Bff
from bff_core.auth import StoredKeys
from bff_core.idempotency import ledger
from bff_core.limits import limiter
from bff_core.stores import open_store
from shop.ports import PORTS
from shop.services import catalog, identity, inventory, notifications, orders, payments, recommendations, reviews, users
from shop.services.identity import issue_token
from shop.services.ordering import Partners
from tests.shop_data import copied

DOCUMENTS = [
    ("mobile", "/openapi.json"),
    ("web", "/openapi.json"),
    ("partner", "/openapi.json"),
    ("partner", "/openapi/v2.json"),
    ("partner", "/openapi/v1.json"),
]
MODULES = (catalog, identity, inventory, notifications, payments, recommendations, reviews, users)
KEY = {"x-api-key": "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"}
ROOT = Path(__file__).parents[2]
EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
"""For each operation; `make fuzz` takes many more."""


def _transport(app: Any) -> httpx.ASGITransport:
    return httpx.ASGITransport(app, raise_app_exceptions=False)


class Shop(httpx.AsyncBaseTransport):
    """The shop's services in this process, found by their ports."""

    def __init__(self, data: Path) -> None:
        names = {module.__name__.rpartition(".")[2]: module for module in MODULES}
        self.apps = {name: module.create_app(data, faults=False) for name, module in names.items()}
        partners = (self._client(name) for name in ("catalog", "inventory", "payments"))
        self.apps["orders"] = orders.create_app(data, faults=False, partners=Partners(*partners))
        self._transports = {PORTS[name]: _transport(app) for name, app in self.apps.items()}

    def _client(self, name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=_transport(self.apps[name]), base_url=f"http://{name}.test")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.port is not None
        return await self._transports[request.url.port].handle_async_request(request)


@pytest.fixture(scope="module")
def shop(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Path]]:
    data = copied(seeded, tmp_path_factory.mktemp("schemathesis") / "data")
    running = Shop(data)
    yield running, data
    for app in running.apps.values():
        app.db.close() if hasattr(app, "db") else None
        for close in app.closers:
            asyncio.run(close())


def load(name: str, transport: Shop, monkeypatch: pytest.MonkeyPatch) -> Bff:
    """The gateway as its own module makes it, over these services; a busy machine is no reason to shed or give up."""
    monkeypatch.setenv("BFF_DEADLINE", "60")
    monkeypatch.setenv("BFF_SHED_AFTER", "60")
    monkeypatch.setenv("BFF_POLICY", '{"timeout": 60}')
    for waits in (open_store, StoredKeys.__init__):
        monkeypatch.setitem(waits.__kwdefaults__, "timeout", 60)
    monkeypatch.setattr(limiter, "SQL_TIMEOUT", 60)
    monkeypatch.setattr(ledger, "TIMEOUT", 60)
    monkeypatch.setattr(bff_core, "create_bff", functools.partial(bff_core.create_bff, transport=transport))
    monkeypatch.setattr(bff_core, "BearerJwt", functools.partial(bff_core.BearerJwt, transport=transport))
    for file in (ROOT / "bffs" / name).glob("*.py"):
        # What is imported now has these settings, and goes with them.
        module = f"bffs.{name}.{file.stem}"
        monkeypatch.setitem(sys.modules, module, sys)
        del sys.modules[module]
    app: Bff = runpy.run_module(f"bffs.{name}.app")["app"]
    return app


def refer_to_what_there_is(case: Any) -> None:
    """By the document any text is a cursor or a product's id; only those that the shop gave lead anywhere. No two
    requests are one by their key."""
    case.query.pop("cursor", None)
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid4().hex
    if isinstance(case.body, dict):
        for holder in (case.body, *(case.body.get("lines") or ())):
            if "product_id" in holder:
                holder["product_id"] = "p1"


# The partner gateway reads events, and its clients look at `random`, while cases are made in another thread.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "document"), DOCUMENTS)
def test_the_gateway_keeps_to_its_document(
    name: str, document: str, shop: tuple[Shop, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No 5xx, no undocumented status, type or shape, nothing accepted that the document forbids, nothing refused that
    it allows, no page without credentials, no method that is not documented."""
    transport, data = shop
    app = load(name, transport, monkeypatch)
    credentials = KEY if name == "partner" else {"authorization": f"Bearer {issue_token(data, 'u1')}"}
    schema = schemathesis.openapi.from_asgi(document, app)
    schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    found: list[str] = []
    asked: dict[str, int] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path.endswith("/poke") or operation.path.startswith("/webhooks"):
            continue  # the one has no end; the others look up hosts, and go by more than a schema can say

        @seed(20261)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            if case.meta.generation.mode is GenerationMode.POSITIVE:
                refer_to_what_there_is(case)
            response = case.call(headers=credentials)
            asked[case.operation.label] = asked.get(case.operation.label, 0) + 1
            # Whoever asks for fewer members gets a part of the documented shape.
            excluded = [response_schema_conformance] if "fields" in case.query else []
            case.validate_response(response, headers=credentials, excluded_checks=excluded)

        try:
            check()
        except BaseException as failure:
            if isinstance(failure, KeyboardInterrupt):
                raise
            found.append(f"{operation.label}: {failure}")
    assert not found, "\n\n".join(found)
    assert len(asked) >= len([page for page in app.pages if page.include_in_schema])
    assert min(asked.values()) >= EXAMPLES // 2
