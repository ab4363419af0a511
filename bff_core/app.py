"""A gateway: what is declared on it, and the way in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send

from .applife import AppLife
from .auth import Allow, Authenticator, Gate, OidcSessions
from .binding import make_last_good
from .cache import MemoryStore
from .clients import ServiceClient
from .context import Principal
from .edge import Edge
from .errors import DeclarationError
from .hardening import Admission, Reply
from .idempotency import Ledger, Mode, Once
from .limits import AnyLimit, Criticality, LagMonitor, Limiter, Shedder, Turns, Usage
from .ops import Operations
from .pages import (
    SECURITY,
    BatchRoute,
    MessageStreaming,
    Page,
    PageEndpoint,
    PageOptions,
    PageRoute,
    PageServices,
    Serving,
    Streaming,
    page_routes,
)
from .pages.document import finished
from .pages.route import check_free
from .pages.versioned_document import version_document
from .proxy import ProxyLimits, ProxyRoute, ProxyServices
from .resilience import Upstream
from .settings import Settings
from .stores import KeyValueStore, open_store
from .sync import Collection as SyncCollection
from .sync import Mutation, Pokes, Sync, read_keys, sync_routes
from .table import EndpointTable, Found
from .telemetry import AccessLog, Events
from .versions import Versions

if TYPE_CHECKING:
    import httpx

    from .ssr import Templates

__all__ = ["Bff"]

FOUND = "bff.found"
USUAL_CALLS = 3
"""What is taken of a turn for a request of which it is not known yet how many calls it will make."""


class Bff(FastAPI):
    """A gateway: a FastAPI app with pages. ``settings``, ``pages``, ``clients`` and ``upstreams`` are there to be read;
    ``events.subscribe`` tells a function of every decision of the resilience strategies."""

    auth: Authenticator | None
    sessions: OidcSessions | None
    upstreams: dict[str, Upstream]
    operations: Operations
    templates: Templates | None = None
    direct: Edge | None
    versions: Versions | None
    app_life: AppLife | None
    usage: Usage | None
    handlers: frozenset[Any]
    enter: Callable[[Scope], Awaitable[None]]
    admission: Admission
    transport: httpx.AsyncBaseTransport | None
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
        self.turns = Turns()
        self.lag = LagMonitor(self.shedder, self.turns)
        self.last_good = make_last_good(name, settings)
        self.limiter = limiter
        self._limits = tuple(limits)
        self._services = PageServices(
            self._client, settings.max_body, self.shedder, self.last_good, events, memory, settings.delivery
        )
        self.idempotency = Ledger(
            name,
            settings.idempotency_url,
            settings.deadline,
            events,
            denies=settings.idempotency_on_store_failure == "deny",
        )
        self.access = AccessLog(name, enabled=logging.getLevelNamesMapping()[settings.log_level] <= logging.INFO)
        self._table: EndpointTable | None = None
        self._documents: dict[str, dict[str, Any]] = {}
        self.webhooks_of: Callable[[str], list[BaseRoute]] | None = None
        super().__init__(**kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pages and proxies are asked directly, unless somebody's middleware or error handler wants to see requests."""
        if scope["type"] == "http" and self.direct is not None:
            if self._table is None or self._table.size != len(self.router.routes):
                self._table = EndpointTable(self.router.routes)
                if len(self.user_middleware) > 1 or self.exception_handlers.keys() != self.handlers:
                    self.direct = None
                    await super().__call__(scope, receive, send)
                    return
            found: Found | None = scope.pop(FOUND) if FOUND in scope else self._table.find(scope)
            if found is not None:
                scope["app"] = self
                await self.direct.serve(*found, scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Reply | Coroutine[Any, Any, None] | None:
        """The shorter way to a page or a proxy, for the gateway's own server: the answer that needs no waiting (a page
        that is kept, or that an overloaded gateway refuses before it spends anything on it), or what makes it. None
        for what goes the usual way."""
        table, direct = self._table, self.direct
        if direct is None or table is None or table.size != len(self.router.routes):
            self.turns.take(USUAL_CALLS)
            return None
        found = table.find(scope)
        if found is None:
            scope[FOUND] = None
            self.turns.take(USUAL_CALLS)
            return None
        endpoint, path_params = found
        if isinstance(endpoint, PageEndpoint):
            reply = None
            if endpoint.is_kept:
                reply = direct.kept(endpoint, scope)
            elif self.shedder.level:
                reply = endpoint.refuses(scope, direct.headers)
            if reply is not None:
                return reply
        self.turns.take(endpoint.calls)
        scope["app"] = self
        return direct.serve(endpoint, path_params, scope, receive, send)

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
        cache_control: str | None = None,
        compress: bool = True,
        limits: Sequence[AnyLimit] = (),
        idempotency: Mode | None = None,
        stream: bool | Streaming = False,
    ) -> None:
        """Serve ``page`` at ``path``. Only an authenticated principal gets it, unless it is ``public``; it needs all of
        ``scopes``, and ``allow`` (a function of the principal) must say True, else 403.

        When the gateway is overloaded, ``sheddable`` pages are refused first and ``critical`` ones last. ``cache``
        keeps a public page for as long as all the answers that it was made of are fresh, which is known of sections
        that are operations: section functions of such a page take no client. The page is under ``limits`` and under the
        gateway's. ``cache_control`` is for its whole answers; by default nobody may keep a private one.
        ``compress`` False is for pages with secrets beside what who asks may choose (BREACH).

        With ``idempotency`` a request with an ``Idempotency-Key`` (``required``, or ``optional``) is carried out once,
        and answered the same when it is sent again; such answers are not compressed. With ``stream`` a client that
        accepts ``text/event-stream`` or ``application/x-ndjson`` gets the page section by section.

        Raises ``DeclarationError`` when the page and the path do not fit, or a client is missing.
        """
        self._check_access(f"{page.__name__} at '{path}'", public=public, restricted=bool(scopes or allow))
        streaming = MessageStreaming(page.plan) if stream is True else stream or None
        serving = Serving(
            method=method,
            status=status,
            gate=self._gate(public, scopes, allow),
            criticality=criticality,
            cache=cache,
            cache_control=cache_control,
            compress=compress,
            guard=self.limiter.guard((*self._limits, *limits), private=not public),
            once=None if idempotency is None else Once(self.idempotency, idempotency),
            streaming=streaming,
            greeter=self.sessions if public and streaming is not None and streaming.greets else None,
        )
        routes = page_routes(path, page, serving, self._services, self.versions)
        check_free(routes[0], self.router.routes)
        self.router.routes += routes

    def html(
        self,
        path: str,
        page: type[Page],
        *,
        template: str,
        csp: Mapping[str, str] | None = None,
        cache: bool = False,
        **options: Unpack[PageOptions],
    ) -> None:
        """Serve ``page`` at ``path`` to browsers, made by ``template`` and streamed; for ``cache`` and the ``options``
        see ``page``. ``csp`` replaces directives of the content security policy. Raises ``DeclarationError``."""
        if self.templates is None:
            raise DeclarationError(f"'{path}' needs templates: give create_bff(templates='folder')")
        streaming = self.templates.streaming(page.plan, template, csp or {}, hints=self.settings.early_hints)
        self.page(path, page, stream=streaming, cache=cache, **options)

    def form(
        self, path: str, page: type[Page], *, then: str | Callable[[Any], str], **options: Unpack[PageOptions]
    ) -> None:
        """Take a browser's form at ``path`` (POST): its fields are the page's body, and when the page has been made the
        browser is sent on to ``then``: a path of this gateway, or a function of the page's answer that gives one. For
        the ``options`` see ``page``. Raises ``DeclarationError``."""
        if self.templates is None:
            raise DeclarationError(f"'{path}' shows mistakes by a template: give create_bff(templates='folder')")
        self.page(path, page, method="POST", stream=self.templates.form(page.plan, then), **options)

    def batch(self, path: str, *, max_items: int = 20, limits: Sequence[AnyLimit] = ()) -> None:
        """Serve ``POST path``: up to ``max_items`` GET pages in one request, see ``BatchRoute``."""
        gate = None if self.auth is None else Gate(self.auth)
        guard = self.limiter.guard((*self._limits, *limits), private=gate is not None)
        check = self.admission.check_target
        pages = self.router.routes
        pages.append(BatchRoute(path, pages, max_items, check=check, gate=gate, guard=guard, services=self._services))

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
        """Serve ``POST path``, where apps push ``mutations`` and pull ``collections``, and ``GET path/poke``,
        both under the gateway's limits.

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
        if self.app_life is not None:
            self.app_life.reach(path)  # what an app has in its outbox is not lost with the app
        guard = self.limiter.guard(self._limits, private=True)
        self.router.routes += sync_routes(path, sync, Gate(self.auth), self._services, guard)
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
        if self.sessions is not None and "cookie" in (name.lower() for name in request_headers):
            raise DeclarationError(f"the proxy at '{path}' would pass browsers' sessions on: take 'cookie' out")
        if service not in self.upstreams:
            self.upstreams[service] = self._bind(service)
        upstream = self.upstreams[service]
        bound = (each for client in self.clients.values() for each in client.bound.values())
        route = ProxyRoute(
            path,
            upstream,
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
            changed=next((each.changed for each in bound if each.upstream is upstream), None),
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
        return finished(document, self.auth, SECURITY)

    def openapi_of(self, version: str) -> dict[str, Any]:
        """The OpenAPI document of the pages in ``version``. Raises ``KeyError``."""
        if self.versions is None:
            raise KeyError(version)
        served = self.versions[version]
        if served.name not in self._documents:
            webhooks = [] if self.webhooks_of is None else self.webhooks_of(served.name)
            document = version_document(self.title, self.pages, self.versions, served, webhooks)
            self._documents[served.name] = finished(document, self.auth, SECURITY)
        return self._documents[served.name]

    @property
    def pages(self) -> list[PageRoute]:
        """Every page of this gateway, in the order of declaration; not again for the paths of versions."""
        return [route for route in self.router.routes if isinstance(route, PageRoute) and route.version is None]

    def _client(self, client: type[ServiceClient], user: str) -> ServiceClient:
        if client not in self.clients:
            raise DeclarationError(
                f"{user} calls {client.__name__}, which gateway '{self.name}' does not have: "
                f"create_bff(clients=[..., {client.__name__}])"
            )
        return self.clients[client]
