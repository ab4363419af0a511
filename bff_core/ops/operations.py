"""What watches one gateway: its view for the operations port, the port itself, the tracer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

from starlette.routing import BaseRoute, Mount, Router

from ..auth import Authenticator, stored_keys
from ..clients import ResponseCache, ServiceClient
from ..limits import LagMonitor, Limiter, Shedder
from ..pages import PageRoute
from ..proxy import ProxyRoute
from ..resilience import Upstream
from ..settings import Settings
from ..telemetry import Events, PageMeter, RecentEvents, make_tracer
from ..versions import Versions
from .admin import admin_app
from .app import is_loopback
from .gateway import Gateway
from .server import OperationsServer

__all__ = ["Operations", "watch"]


class Watched(Protocol):
    """What is looked at of a gateway's app."""

    name: str
    settings: Settings
    events: Events
    clients: dict[type[ServiceClient], ServiceClient]
    upstreams: dict[str, Upstream]
    shedder: Shedder
    lag: LagMonitor
    limiter: Limiter
    ready: bool
    auth: Authenticator | None
    versions: Versions | None

    @property
    def pages(self) -> list[PageRoute]: ...
    @property
    def router(self) -> Router: ...


class Operations:
    """``server`` is None without an ``ops_port``, ``tracer`` without somewhere to export to."""

    def __init__(self, gateway: Gateway, settings: Settings, routes: Sequence[BaseRoute] = ()) -> None:
        self.gateway = gateway
        self.tracer = make_tracer(gateway.name, settings.trace_ratio)
        self.server: OperationsServer | None = None
        if settings.ops_port is not None:
            host, port = settings.ops_host, settings.ops_port
            self.server = OperationsServer(gateway, host, port, routes, settings.allowed_hosts)

    async def start(self) -> None:
        """Begin, on the running loop."""
        if self.tracer is not None:
            self.tracer.start()
        if self.server is not None:
            await self.server.start()

    async def aclose(self) -> None:
        """End; spans that are left are exported."""
        if self.server is not None:
            await self.server.aclose()
        if self.tracer is not None:
            await self.tracer.aclose()


def watch(app: Watched, cache: ResponseCache) -> Operations:
    """What watches ``app``, whose answers are kept in ``cache``."""
    gateway = Gateway(
        name=app.name,
        version=version("bff-core"),
        pages=lambda: app.pages,
        proxies=lambda: [
            meter for route in app.router.routes if isinstance(route, ProxyRoute) for meter in route.meters
        ],
        clients=app.clients,
        upstreams=app.upstreams,
        shedder=app.shedder,
        limits=app.limiter.declared,
        cache=cache,
        events=RecentEvents(),
        other=PageMeter("", "any", "other"),
        lag=app.lag.seen,
        ready=lambda: app.ready,
    )
    app.events.subscribe(gateway.events)
    keys = stored_keys(app.auth)
    routes: list[BaseRoute] = []
    # Who may issue keys is whoever has the token, without one whoever is on this machine; on another address that would
    # be whoever is near.
    token = app.settings.ops_token
    if keys is not None and (token is not None or is_loopback(app.settings.ops_host)):
        secret = None if token is None else token.get_secret_value()
        routes.append(Mount("/partners", admin_app(keys, app.versions, app.limiter.declared, secret)))
    return Operations(gateway, app.settings, routes)
