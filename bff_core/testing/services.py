"""Services played by respx: no socket, no server."""

from __future__ import annotations

from typing import Any

import httpx
import respx
from respx.models import AllMockedAssertionError

__all__ = ["FakeServices"]


class FakeServices:
    """Plays the named services. ``services["catalog"].get("/products/p1").respond(json=...)`` is respx's language.

    Give ``transport`` to ``create_bff`` and ``settings`` to the gateway's settings. A request for which nothing was
    declared is answered 501 and listed in ``unexpected``.
    """

    def __init__(self, *names: str) -> None:
        self._routers = {
            name: respx.MockRouter(base_url=f"http://{name}.test", assert_all_called=False) for name in names
        }
        self.transport = httpx.MockTransport(self._answer)
        self.settings: dict[str, Any] = {name.replace("-", "_"): {"url": f"http://{name}.test"} for name in names}
        self.requests: list[httpx.Request] = []
        self.unexpected: list[httpx.Request] = []

    def __getitem__(self, name: str) -> respx.MockRouter:
        return self._routers[name]

    def count(self, name: str) -> int:
        """How many requests the service got."""
        return sum(request.url.host == f"{name}.test" for request in self.requests)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        try:
            response = await self._routers[request.url.host.removesuffix(".test")].async_handler(request)
        except AllMockedAssertionError:
            self.unexpected.append(request)
            return httpx.Response(501, json={"detail": f"nothing declared for {request.method} {request.url}"})
        return response
