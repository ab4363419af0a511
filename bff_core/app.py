"""``create_bff``: one gateway, assembled from the rooms of the framework."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import SecurityScopes
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .auth import Allow, Authenticator, Gate, OidcSessions, members_of, schemes_of
from .balance import BalancedWire
from .binding import bind_clients, bind_service, close_credentials, make_cache, make_last_good, make_mirror
from .cache import MemoryStore
from .clients import ResponseCache, ServiceClient
from .context import Principal, current_context
from .edge import Edge
from .errors import DeclarationError, Problem, Refused
from .limits import Criticality, LagMonitor, Shedder
from .pages import SECURITY, Page, PageRoute, PageServices, PageTable
from .proxy import ProxyLimits, ProxyRoute, ProxyServices
from .resilience import CircuitMirror, Upstream
from .settings import Settings
from .telemetry import AccessLog, Events, configure_logs

__all__ = ["Bff", "authenticated", "create_bff"]

GC_THRESHOLD = 20_000


class Bff(FastAPI):
    """A gateway: a FastAPI app with pages. ``settings``, ``pages``, ``clients`` and ``upstreams`` are there to be read;
    ``events.subscribe`` tells a function of every decision of the resilience strategies."""

    auth: Authenticator | None
    sessions: OidcSessions | None
    upstreams: dict[str, Upstream]
    direct: Edge | None
    handlers: frozenset[Any]
    _bind: Callable[[str], Upstream]

    def __init__(
        self,
        name: str,
        clients: dict[type[ServiceClient], ServiceClient],
        settings: Settings,
        events: Events,
        memory: MemoryStore,
        **kwargs: Any,
    ) -> None:
        self.name = name
        self.events = events
        self.settings = settings
        self.ready = False
        self.clients = clients
        self.shedder = Shedder(settings.shed_after)
        self.last_good = make_last_good(name, settings)
        self._services = PageServices(self._client, settings.max_body, self.shedder, self.last_good, events, memory)
        self.access = AccessLog(name, enabled=logging.getLevelNamesMapping()[settings.log_level] <= logging.INFO)
        self._table: PageTable | None = None
        super().__init__(**kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pages go straight to their endpoints, unless somebody's middleware or error handler wants to see them."""
        if scope["type"] == "http" and self.direct is not None:
            if self._table is None or self._table.size != len(self.router.routes):
                self._table = PageTable(self.router.routes)
                if len(self.user_middleware) > 1 or self.exception_handlers.keys() != self.handlers:
                    self.direct = None
                    await super().__call__(scope, receive, send)
                    return
            found = self._table.find(scope)
            if found is not None:
                scope["app"] = self
                await self.direct.serve(*found, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def page(
        self,
        path: str,
        page: type[Page],
        *,
        method: str = "GET",
        status: int = 200,
        public: bool = False,
        scopes: Collection[str] = (),
        allow: Allow | None = None,
        criticality: Criticality = "default",
        cache: bool = False,
    ) -> None:
        """Serve ``page`` at ``path``. Only an authenticated principal gets it, unless it is ``public``; it needs all of
        ``scopes``, and ``allow`` (a function of the principal) must say True, else 403.

        When the gateway is overloaded, ``sheddable`` pages are refused first and ``critical`` ones last. ``cache``
        keeps a public page for as long as all the answers that it was made of are fresh.

        Raises ``DeclarationError`` when the page and the path do not fit, or a client is missing.
        """
        self._check_access(f"{page.__name__} at '{path}'", public=public, restricted=bool(scopes or allow))
        route = PageRoute(
            path,
            page,
            method=method,
            status=status,
            gate=self._gate(public, scopes, allow),
            criticality=criticality,
            cache=cache,
            services=self._services,
        )
        self.router.routes.append(route)

    def proxy(
        self,
        path: str,
        *,
        service: str,
        to: str,
        methods: Collection[str] = ("GET", "HEAD"),
        public: bool = False,
        scopes: Collection[str] = (),
        allow: Allow | None = None,
        criticality: Criticality = "default",
        query: Collection[str] | bool = (),
        request_headers: Collection[str] = (),
        response_headers: Collection[str] = (),
        max_body: int | None = None,
        timeout: float | None = None,
        idle: float = 30.0,
    ) -> None:
        """Pass requests to ``path`` on to ``service`` at ``to``, and its answers back, as streams; ``public``,
        ``scopes``, ``allow`` and ``criticality`` are as for pages.

        ``query`` names the parameters that are passed on (True: all); ``request_headers`` and ``response_headers`` are
        passed besides the usual ones, also ``authorization``, ``cookie`` and ``set-cookie``. ``max_body`` (bytes, of a
        request) is the gateway's by default. ``timeout`` (seconds, the service policy's by default) is for the head of
        the answer, ``idle`` for each further wait for either side. Raises ``DeclarationError``, or ``SettingsError``
        when the service has no URL.
        """
        self._check_access(f"the proxy at '{path}'", public=public, restricted=bool(scopes or allow))
        if self.sessions is not None and "cookie" in (name.lower() for name in request_headers):
            raise DeclarationError(f"the proxy at '{path}' would pass browsers' sessions on: take 'cookie' out")
        if service not in self.upstreams:
            self.upstreams[service] = self._bind(service)
        route = ProxyRoute(
            path,
            self.upstreams[service],
            to=to,
            methods=methods,
            query=query,
            request_headers=request_headers,
            response_headers=response_headers,
            limits=ProxyLimits(self.settings.max_body if max_body is None else max_body, timeout, idle),
            gate=self._gate(public, scopes, allow),
            criticality=criticality,
            services=ProxyServices(self.shedder, self.events, self.settings.deadline),
        )
        self.router.routes.append(route)

    def _gate(self, public: bool, scopes: Collection[str], allow: Allow | None) -> Gate | None:
        return None if public or self.auth is None else Gate(self.auth, scopes, allow)

    def _check_access(self, what: str, *, public: bool, restricted: bool) -> None:
        if public and restricted:
            raise DeclarationError(f"{what} is public, so nobody's scopes can be asked for")
        if not public and self.auth is None:
            raise DeclarationError(
                f"{what} is private, but gateway '{self.name}' has no authentication: "
                "give create_bff(auth=...), or declare it public=True"
            )

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with the gateway's security scheme and its pass-through routes."""
        document = super().openapi()
        for route in self.router.routes:
            if isinstance(route, ProxyRoute):
                route.document(document["paths"], SECURITY)
        if self.auth is not None:
            schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes.update(schemes_of(self.auth, SECURITY))
        return document

    @property
    def pages(self) -> list[PageRoute]:
        """Every page of this gateway, in the order of declaration."""
        return [route for route in self.router.routes if isinstance(route, PageRoute)]

    def _client(self, client: type[ServiceClient], user: str) -> ServiceClient:
        if client not in self.clients:
            raise DeclarationError(
                f"{user} calls {client.__name__}, which gateway '{self.name}' does not have: "
                f"create_bff(clients=[..., {client.__name__}])"
            )
        return self.clients[client]


def create_bff(
    name: str,
    *,
    clients: Sequence[type[ServiceClient]],
    settings: Settings | None = None,
    auth: Authenticator | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Any,
) -> Bff:
    """A gateway called ``name`` over the services of ``clients``.

    ``settings`` are loaded from the environment when not given. ``auth`` says who may come in. ``transport`` replaces
    the wire to every service (tests, proxies, HTTP/2). ``options`` are FastAPI's. Raises ``SettingsError`` when a
    service has no URL.
    """
    settings = settings or Settings.load()
    configure_logs(name, settings.log_level)
    events = Events()
    cache = make_cache(name, settings)
    bound, upstreams = bind_clients(clients, settings, transport, events, cache, name)
    docs = {} if settings.docs else {"openapi_url": None}
    app = Bff(
        name,
        bound,
        settings,
        events,
        cache.memory,
        title=options.pop("title", name),
        lifespan=_lifespan(upstreams, cache, make_mirror(name, settings, events), auth, options.pop("lifespan", None)),
        dependencies=[Depends(authenticated)] if auth is not None else [],
        **docs,
        **options,
    )
    app.auth = auth
    app.upstreams = upstreams
    app._bind = partial(bind_service, settings=settings, transport=transport, events=events)  # noqa: SLF001 - assembled here
    app.router.routes += [
        Route("/health/live", _live, include_in_schema=False),
        Route("/health/ready", _ready, include_in_schema=False),
    ]
    app.sessions = _mount_sessions(app, auth)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    edge: dict[str, Any] = {
        "deadline": settings.deadline,
        "max_query": settings.max_query,
        "challenge": auth.challenge if auth is not None else None,
        "access": app.access,
        "sign_in": app.sessions.hint if app.sessions is not None else None,
    }
    app.add_middleware(Edge, **edge)
    app.direct = None if "exception_handlers" in options else Edge(app, **edge)
    app.handlers = frozenset(app.exception_handlers)
    return app


def _mount_sessions(app: Bff, auth: Authenticator | None) -> OidcSessions | None:
    """The browser sessions among the ways of ``auth``, with their routes in ``app``."""
    found = [member for member in (members_of(auth) if auth is not None else ()) if isinstance(member, OidcSessions)]
    if len(found) > 1:
        raise DeclarationError(f"gateway '{app.name}' has {len(found)} OidcSessions; browsers have one cookie")
    for sessions in found:
        app.router.routes += sessions.mount(app.name)
    return found[0] if found else None


async def authenticated(request: Request, security: SecurityScopes) -> Principal:
    """A FastAPI dependency: the principal of the request; a 401 problem without one, and a 403 when it lacks one of the
    scopes of ``Security(authenticated, scopes=[...])``.

    In force on every plain route of a gateway that has ``auth``.
    """
    context = current_context()
    auth: Authenticator | None = request.app.auth
    if context.principal is None and auth is not None:
        await Gate(auth).enter(request.scope, context)
    principal = context.authenticated()
    if not principal.scopes.issuperset(security.scopes):
        raise Refused(403, "missing_scope")
    return principal


def _lifespan(
    upstreams: dict[str, Upstream],
    cache: ResponseCache,
    mirror: CircuitMirror | None,
    auth: Authenticator | None,
    inner: Any,
) -> Any:
    @asynccontextmanager
    async def lifespan(app: Bff) -> AsyncIterator[Any]:
        # What is alive now stays: full collections over the framework's own heap were the tail of the latency. What a
        # request leaves behind is mostly freed at once, so that looking for cycles every 700 objects finds nothing.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
        monitor = LagMonitor(app.shedder)
        monitor.start()
        for upstream in upstreams.values():
            if isinstance(upstream.wire, BalancedWire):
                upstream.wire.start()
        if mirror is not None:
            mirror.start()
        app.ready = True
        if inner is None:
            yield
        else:
            async with inner(app) as state:
                yield state
        app.ready = False
        app.access.flush()
        monitor.stop()
        for upstream in upstreams.values():
            await upstream.wire.aclose()
        await close_credentials(app.clients)
        await cache.aclose()
        await app.last_good.aclose()
        if mirror is not None:
            await mirror.aclose()
        if auth is not None:
            await auth.aclose()

    return lifespan


async def _live(request: Request) -> Response:  # noqa: ARG001 - the signature of an endpoint
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def _ready(request: Request) -> Response:
    if not request.app.ready:
        raise Problem(503, "Not ready.")
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    detail = error.detail if isinstance(error.detail, str) else None
    raise Problem(error.status_code, detail, headers=error.headers)


async def _validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    errors = [
        {"in": str(entry["loc"][0]), "name": ".".join(str(part) for part in entry["loc"][1:]), "detail": entry["msg"]}
        for entry in error.errors()
    ]
    raise Problem(422, "The request has parameters that are missing or not valid.", errors=errors)
