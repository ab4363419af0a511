"""What an old version costs: CPU per request of the partner's pages without versions, at the head, in the oldest.

The gateway is called in process; the service answers from another thread, whose time is not counted.
``python -m bench.versions``
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from typing import Any

from bff_core import ApiKey, ApiKeys, Bff, Settings, Versions, create_bff, new_api_key
from bffs.partner.pages import OrdersPage, ProductPage, ProductsPage
from bffs.partner.versions import VERSIONS
from shop.clients import Catalog, Orders

ROUNDS, REQUESTS = 7, 100
MONEY = {"amount": 1999, "currency": "EUR"}
INSTANTS = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
PRODUCT = {
    "id": "p1",
    "name": "Lamp",
    "brand": "b",
    "category": "c",
    "description": "d" * 80,
    "thumbnail": "t",
    "price": MONEY,
    "updated_at": INSTANTS["updated_at"],
    "images": [{"url": f"https://x/{number}", "alt": "a", "width": 1, "height": 1} for number in range(5)],
    "specifications": [{"name": f"n{number}", "value": "v"} for number in range(6)],
}
LINE = {"product_id": "p", "name": "n", "quantity": 1, "unit_price": MONEY}
ORDER = {
    "id": "o1",
    "user_id": "u",
    "partner_id": "acme",
    "status": "paid",
    "total": MONEY,
    "lines": [LINE] * 4,
    **INSTANTS,
}
BODIES = {
    b"/products/p1": json.dumps(PRODUCT).encode(),
    b"/products": json.dumps({"items": [PRODUCT] * 20, "next": None}).encode(),
    b"/orders": json.dumps({"items": [ORDER] * 20, "next": None}).encode(),
}
KEY = new_api_key()


class Service(asyncio.Protocol):
    """Answers what the catalog and the orders service would."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        body = BODIES[data.split(b" ", 2)[1].partition(b"?")[0]]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


def start_service() -> str:
    """Its URL."""
    ready, port = threading.Event(), []

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=asyncio.run, args=(run(),), daemon=True).start()
    ready.wait()
    return f"http://127.0.0.1:{port[0]}"


def gateway(url: str, versions: Versions | None) -> Bff:
    """The partner's, with one key."""
    settings = Settings(services={"catalog": {"url": url}, "orders": {"url": url}}, log_level="ERROR", deadline=10)
    auth = ApiKeys([ApiKey(sha256=hashlib.sha256(KEY.encode()).hexdigest(), partner="acme")])
    app = create_bff("partner", settings=settings, clients=[Catalog, Orders], auth=auth, versions=versions)
    app.page("/products", ProductsPage)
    app.page("/products/{product_id}", ProductPage)
    app.page("/orders", OrdersPage)
    return app


async def ask(app: Bff, path: str) -> None:
    """One request."""
    never, sent = asyncio.Event(), []

    async def receive() -> Any:
        await never.wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"x-api-key", KEY.encode()), (b"host", b"x")]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": headers}
    await app(
        {**scope, "asgi": {"version": "3.0"}, "scheme": "http", "http_version": "1.1", "server": None}, receive, send
    )
    if sent[0]["status"] != 200:
        raise RuntimeError(sent)


async def main() -> None:
    """Print microseconds and ratios, the best of the rounds."""
    url = start_service()
    plain, versioned = gateway(url, None), gateway(url, VERSIONS)
    async with plain.router.lifespan_context(plain), versioned.router.lifespan_context(versioned):
        for page in ("/products/p1", "/products", "/orders"):
            best: dict[str, float] = {}
            for _ in range(ROUNDS):
                for name, app, prefix in (
                    ("none", plain, ""),
                    ("head", versioned, "/v2"),
                    ("oldest", versioned, "/v1"),
                ):
                    before = time.thread_time()
                    for _ in range(REQUESTS):
                        await ask(app, prefix + page)
                    best[name] = min(best.get(name, 1e9), (time.thread_time() - before) / REQUESTS * 1e6)
            shown = ", ".join(f"{name} {microseconds:.0f} us" for name, microseconds in best.items())
            print(
                f"{page}: {shown}; head/none {best['head'] / best['none']:.2f}, oldest/head "
                f"{best['oldest'] / best['head']:.2f}"
            )


if __name__ == "__main__":
    asyncio.run(main())
