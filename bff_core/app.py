"""``create_bff``: one gateway, assembled from the rooms of the framework."""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import httpx
from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .auth import Allow, Authenticator, Gate, schemes_of
from .balance import BalancedWire
from .binding import bind_clients, bind_service, close_credentials, make_cache, make_last_good, make_mirror
from .cache import MemoryStore
from .clients import ResponseCache, ServiceClient
from .context import Principal
from .edge import Edge
from .errors import DeclarationError
from .forwarded import TrustedProxies
from .hardening import Admission, AnswerHeaders, CorsPolicy, HostRule
from .limits import AnyLimit, Criticality, Guard, LagMonitor, Limiter, Shedder, stage_dependency
from .ops import Operations, watch
from .pages import SECURITY, Delivery, MessageDelivery, Page, PageOptions, PageRoute, PageServices, PageTable
from .pages.document import tidy_parameters
from .plain import authenticated, http_problem, live, ready, validation_problem
from .proxy import ProxyLimits, ProxyRoute, ProxyServices
from .resilience import CircuitMirror, Upstream
from .settings import Settings
from .stores import KeyValueStore, open_store
from .sync import Collection as SyncCollection
from .sync import Mutation, Pokes, Sync, read_keys, sync_routes
from .telemetry import AccessLog, Events, configure_logs

if TYPE_CHECKING:
    from .ssr import Templates

__all__ = ["Bff", "authenticated", "create_bff"]

GC_THRESHOLD = 20_000


class Bff(FastAPI):
    """A gateway: a FastAPI app with pages. ``settings``, ``pages``, ``clients`` and ``upstreams`` are there to be read;
    ``events.subscribe`` tells a function of every decision of the resilience strategies."""

    auth: Authenticator | None
    upstreams: dict[str, Upstream]
    operations: Operations
    templates: Templates | None = None
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
        limiter: Limiter,
        limits: Sequence[AnyLimit],
        **kwargs: Any,
    ) -> None:
        self.name = name
        self.events = events
        self.settings = settings
        self.ready = False
        self.clients = clients
        self.syncs: list[Sync] = []
        self.shedder = Shedder(settings.shed_after)
        self.lag = LagMonitor(self.shedder)
        self.last_good = make_last_good(name, settings)
        self.limiter = limiter
        self._limits = tuple(limits)
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
        limits: Sequence[AnyLimit] = (),
        stream: bool | Delivery = False,
    ) -> None:
        """Serve ``page`` at ``path``. Only an authenticated principal gets it, unless it is ``public``; it needs all of
        ``scopes``, and ``allow`` (a function of the principal) must say True, else 403.

        When the gateway is overloaded, ``sheddable`` pages are refused first and ``critical`` ones last. ``cache``
        keeps a public page for as long as all the answers that it was made of are fresh. The page is under ``limits``
        and under the gateway's. With ``stream`` a client that accepts ``text/event-stream`` or
        ``application/x-ndjson`` gets it section by section.

        Raises ``DeclarationError`` when the page and the path do not fit, or a client is missing.
        """
        self._check_access(f"{page.__name__} at '{path}'", public=public, restricted=bool(scopes or allow))
        delivery = MessageDelivery(page.plan) if stream is True else stream or None
        route = PageRoute(
            path,
            page,
            method=method,
            status=status,
            gate=self._gate(public, scopes, allow),
            criticality=criticality,
            cache=cache,
            services=self._services,
            guard=self.limiter.guard((*self._limits, *limits), private=not public),
            delivery=delivery,
        )
        self.router.routes.append(route)

    def html(
        self,
        path: str,
        page: type[Page],
        *,
        template: str,
        csp: Mapping[str, str] | None = None,
        **options: Unpack[PageOptions],
    ) -> None:
        """Serve ``page`` at ``path`` to browsers, made by ``template`` and streamed; for the ``options`` see ``page``.
        ``csp`` replaces directives of the content security policy. Raises ``DeclarationError``."""
        if self.templates is None:
            raise DeclarationError(f"'{path}' needs templates: give create_bff(templates='folder')")
        self.page(path, page, stream=self.templates.delivery(page.plan, template, csp or {}), **options)

    def sync(
        self,
        path: str,
        *,
        collections: Sequence[SyncCollection],
        mutations: Sequence[Mutation] = (),
        store: KeyValueStore | str = "memory://",
        keys: Sequence[str] = (),
        on_poke: Callable[[Principal], None] | None = None,
    ) -> Sync:
        """Serve ``POST path``, where apps push ``mutations`` and pull ``collections``, and ``GET path/poke``.

        ``store`` (its URL, or itself) keeps what clients have and did; it is closed with the gateway. ``keys`` (32
        bytes as base64url) seal tokens: the first from now on, the others did before; by default one that is made and
        kept in the store. ``on_poke`` is told of every poke, to pass it on to other replicas or to a push provider.

        Raises ``DeclarationError`` when a client is missing or the gateway has no authentication.
        """
        if self.auth is None:
            raise DeclarationError(f"'{path}' syncs somebody's data, but gateway '{self.name}' has no authentication")
        opened = open_store(store, namespace=f"{self.name}:sync") if isinstance(store, str) else store
        made, pokes = read_keys(keys), Pokes(on_poke)
        sync = Sync(collections, mutations, store=opened, keys=made, client=self._client, pokes=pokes)
        self.syncs.append(sync)
        self.router.routes += sync_routes(path, sync, Gate(self.auth), self._services)
        return sync

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
        limits: Sequence[AnyLimit] = (),
    ) -> None:
        """Pass requests to ``path`` on to ``service`` at ``to``, and its answers back, as streams; ``public``,
        ``scopes``, ``allow``, ``criticality`` and ``limits`` are as for pages.

        ``query`` names the parameters that are passed on (True: all); ``request_headers`` and ``response_headers`` are
        passed besides the usual ones, also ``authorization``, ``cookie`` and ``set-cookie``. ``max_body`` (bytes, of a
        request) is the gateway's by default. ``timeout`` (seconds, the service policy's by default) is for the head of
        the answer, ``idle`` for each further wait for either side. Raises ``DeclarationError``, or ``SettingsError``
        when the service has no URL.
        """
        self._check_access(f"the proxy at '{path}'", public=public, restricted=bool(scopes or allow))
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
            guard=self.limiter.guard((*self._limits, *limits), private=not public),
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
        tidy_parameters(document)
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
    limits: Sequence[AnyLimit] = (),
    templates: str | Path | None = None,
    **options: Any,
) -> Bff:
    """A gateway called ``name`` over the services of ``clients``.

    ``settings`` are loaded from the environment when not given. ``auth`` says who may come in. ``transport`` replaces
    the wire to every service (tests, proxies, HTTP/2). Everything it serves is under ``limits``.
    ``templates`` is the folder of those that ``html`` pages have (extra ``ssr``). ``options`` are FastAPI's.

    Raises ``SettingsError`` when a service has no URL.
    """
    settings = settings or Settings.load()
    configure_logs(name, settings.log_level)
    events = Events()
    cache = make_cache(name, settings)
    bound, upstreams = bind_clients(clients, settings, transport, events, cache, name)
    limiter = Limiter(name, settings.limits_url, settings.deadline, events)
    guard = limiter.guard(limits, private=auth is not None) or Guard()
    docs = {} if settings.docs else {"openapi_url": None}
    # A redirect to the path with or without a last slash would be made of the request's own Host and scheme.
    options.setdefault("redirect_slashes", False)
    app = Bff(
        name,
        bound,
        settings,
        events,
        cache.memory,
        limiter,
        limits,
        title=options.pop("title", name),
        lifespan=_lifespan(upstreams, cache, make_mirror(name, settings, events), auth, options.pop("lifespan", None)),
        # Of plain routes; a page does the same without FastAPI.
        dependencies=[
            *stage_dependency(guard.before),
            *([Depends(authenticated)] if auth is not None else []),
            *stage_dependency(guard.after),
        ],
        **docs,
        **options,
    )
    app.auth = auth
    if templates is not None:
        from .ssr import Templates  # noqa: PLC0415 - Jinja2 is an extra

        app.templates = Templates(templates)
    app.upstreams = upstreams
    app.operations = watch(app, cache)
    app._bind = partial(bind_service, settings=settings, transport=transport, events=events)  # noqa: SLF001 - assembled here
    app.router.routes += [
        Route("/health/live", live, include_in_schema=False),
        Route("/health/ready", ready, include_in_schema=False),
    ]
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, validation_problem)
    cors = CorsPolicy(settings.cors) if settings.cors is not None else None
    edge: dict[str, Any] = {
        "deadline": settings.deadline,
        "admission": Admission(settings, HostRule(settings.allowed_hosts), cors),
        "headers": AnswerHeaders(settings.hardening, cors, filter(None, (app.docs_url, app.redoc_url))),
        "challenge": auth.challenge if auth is not None else None,
        "access": app.access,
        "meter": app.operations.gateway.other,
        "tracer": app.operations.tracer,
        "proxies": TrustedProxies(settings.trusted_proxies),
    }
    app.add_middleware(Edge, **edge)
    app.direct = None if "exception_handlers" in options else Edge(app, **edge)
    app.handlers = frozenset(app.exception_handlers)
    return app


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
        app.lag.start()
        await app.operations.start()
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
        app.lag.stop()
        await app.operations.aclose()
        for upstream in upstreams.values():
            await upstream.wire.aclose()
        await close_credentials(app.clients)
        await cache.aclose()
        await app.last_good.aclose()
        await app.limiter.aclose()
        for sync in app.syncs:
            await sync.aclose()
        if mirror is not None:
            await mirror.aclose()
        if auth is not None:
            await auth.aclose()

    return lifespan
