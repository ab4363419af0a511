"""What the operations port answers."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ..hardening import HostRule
from .exposition import make_exposition
from .gateway import Gateway
from .page import CSP, PAGE
from .pulse import Pulse, encode
from .snapshot import services

__all__ = ["OperationsApp"]

WATCHERS = 16
HERE = "localhost, 127.0.0.1 and [::1]"
NEAR = "addresses, names of no public domain and those of BFF_ALLOWED_HOSTS"
# Not reserved, but delegated to nobody: Kubernetes' short form, Consul, routers.
_NETWORKS = re.compile(rb"[a-z0-9_.-]+\.(?:svc|consul|lan)\.?(?::[0-9]{1,5})?", re.IGNORECASE)
NO_EXTRA = "Metrics need prometheus-client in the gateway's environment: pip install bff-core[metrics]\n"
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}


class OperationsApp:
    """An ASGI application: ``/metrics``, ``/health/…`` and ``/console``, through which nothing can be changed, and
    ``more`` routes.

    While it listens on a loopback address only, a request must name one in its ``Host``; on any other, an address, a
    name that public DNS gives to nobody, or one of ``allowed`` (as ``HostRule`` has them, but not ``*``): a page of the
    web that has its own name resolve to here (DNS rebinding) is refused.
    """

    def __init__(
        self,
        gateway: Gateway,
        pulse: Pulse,
        host: str,
        more: Sequence[BaseRoute] = (),
        allowed: Sequence[str] = (),
    ) -> None:
        self._gateway = gateway
        self._pulse = pulse
        self._allows: Callable[[bytes], bool | None] = _on_this_machine if is_loopback(host) else _near(allowed)
        self._refusal = f"This port answers to {HERE if is_loopback(host) else NEAR} only.\n"
        self._render = make_exposition(gateway)
        self._watchers = 0
        routes = {
            "/metrics": self._metrics,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/health/services": self._services,
            "/console": self._console,
            "/console/snapshot": self._snapshot,
            "/console/stream": self._stream,
        }
        self._routes = Starlette(routes=[*(Route(path, endpoint) for path, endpoint in routes.items()), *more])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or not self._allows(hosts[0]):
                await PlainTextResponse(self._refusal, 421)(scope, receive, send)
                return
        await self._routes(scope, receive, send)

    async def _metrics(self, request: Request) -> Response:
        if self._render is None:
            return PlainTextResponse(NO_EXTRA, 501, HEADERS)
        body, content_type = self._render(request.headers.get("accept", ""))
        return Response(body, headers={**HEADERS, "content-type": content_type})

    async def _live(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=HEADERS)

    async def _ready(self, _: Request) -> Response:
        ready = self._gateway.ready()
        return JSONResponse({"status": "ok" if ready else "not ready"}, 200 if ready else 503, HEADERS)

    async def _services(self, _: Request) -> Response:
        return JSONResponse(services(self._gateway, time.monotonic()), headers=HEADERS)

    async def _console(self, _: Request) -> Response:
        return HTMLResponse(PAGE, headers={**HEADERS, "content-security-policy": CSP})

    async def _snapshot(self, _: Request) -> Response:
        return Response(encode(self._pulse.snapshot()), headers=HEADERS, media_type="application/json")

    async def _stream(self, _: Request) -> Response:
        if self._watchers >= WATCHERS:
            return PlainTextResponse("Too many consoles are open.\n", 503, {**HEADERS, "retry-after": "10"})
        return StreamingResponse(self._watch(), headers=HEADERS, media_type="text/event-stream")

    async def _watch(self) -> AsyncIterator[str]:
        self._watchers += 1
        try:
            yield f"retry: 2000\nevent: snapshot\ndata: {encode(self._pulse.snapshot())}\n\n"
            while await self._pulse.beat():
                yield f"event: tick\ndata: {self._pulse.tick()}\n\n"
        finally:
            self._watchers -= 1


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host`` (a name or an address)."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _on_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1")
    return is_loopback(name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0])


def _near(allowed: Sequence[str]) -> Callable[[bytes], bool | None]:
    local, named = HostRule([]), HostRule([name for name in allowed if name != "*"])
    return lambda host: local.allows(host) or named.allows(host) or _NETWORKS.fullmatch(host) is not None
