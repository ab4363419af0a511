"""Services played by respx: no socket, no server."""

from __future__ import annotations

from typing import Any

import httpx
import respx
from respx.models import AllMockedAssertionError

__all__ = ["FakeServices", "FakeTransport"]


class FakeServices:
    """Plays the named services. ``services["catalog"].get("/products/p1").respond(json=...)`` is respx's language.

    Give ``transport`` to ``create_bff`` and ``settings`` to the gateway's settings. A request for which nothing was
    declared is answered 501 and listed in ``unexpected``; ``bff_client`` fails at its end, unless that was looked at.
    """

    def __init__(self, *names: str) -> None:
        self._routers = {
            name: respx.MockRouter(base_url=f"http://{name}.test", assert_all_called=False) for name in names
        }
        self._hosts = {_host(name): router for name, router in self._routers.items()}
        self.transport = FakeTransport(self)
        self.settings: dict[str, Any] = {name.replace("-", "_"): {"url": f"http://{name}.test"} for name in names}
        self.requests: list[httpx.Request] = []
        self._unexpected: list[httpx.Request] = []
        self._looked = False

    @property
    def unexpected(self) -> list[httpx.Request]:
        """The requests for which nothing was declared. Who asks for them knows of them: nothing fails because of
        them."""
        self._looked = True
        return self._unexpected

    def __getitem__(self, name: str) -> respx.MockRouter:
        return self._routers[name]

    def count(self, name: str) -> int:
        """How many requests the service got."""
        return sum(request.url.host == _host(name) for request in self.requests)

    def complaint(self) -> str | None:
        """What is to be said of unexpected requests at which nobody has looked, None when there are none."""
        if self._looked or not self._unexpected:
            return None
        asked = "\n".join(dict.fromkeys(f"  {self._missing(request)}" for request in self._unexpected))
        return (
            f"The gateway asked FakeServices for what was not declared:\n{asked}\n"
            "Declare it, or look at services.unexpected when it is meant."
        )

    def _missing(self, request: httpx.Request) -> str:
        router = self._hosts.get(request.url.host)
        if router is None:
            played = ", ".join(self._routers) or "none"
            return f"{request.method} {request.url}: this service is not played ({played})"
        origin = f"<Scheme eq 'http'> AND <Host eq '{request.url.host}'> AND "
        declared = "; ".join(repr(route.pattern).replace(origin, "") for route in router.routes) or "nothing"
        return f"{request.method} {request.url}: declared is {declared}"

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """What was declared for ``request``, or 501."""
        self.requests.append(request)
        router = self._hosts.get(request.url.host)
        try:
            if router is not None:
                return await router.async_handler(request)
        except AllMockedAssertionError:
            pass
        self._unexpected.append(request)
        return httpx.Response(501, json={"detail": f"nothing declared for {request.method} {request.url}"})


class FakeTransport(httpx.MockTransport):
    """The way to ``services``."""

    def __init__(self, services: FakeServices) -> None:
        super().__init__(services.answer)
        self.services = services


def _host(name: str) -> str:
    return f"{name}.test".lower()  # as httpx has it
