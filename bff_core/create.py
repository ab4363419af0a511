"""``create_bff``: one gateway, assembled from the rooms of the framework."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from .app import Bff
from .applife import AppLife
from .applife import mount as mount_app_life
from .auth import Authenticator, Gate, OidcSessions, members_of
from .binding import bind_clients, bind_service, make_cache, make_mirror
from .clients import ServiceClient
from .context import current_context
from .edge import Edge
from .errors import DeclarationError
from .forwarded import TrustedProxies
from .hardening import Admission, AnswerHeaders, CorsPolicy, HostRule
from .lifespan import make_lifespan
from .limits import AnyLimit, Guard, Limiter, Usage
from .ops import watch
from .plain import (
    authenticated,
    entered,
    entrance,
    http_problem,
    live,
    openapi_of,
    ready,
    reference_of,
    validation_problem,
)
from .problem_types import named_types, problems_route
from .settings import Settings
from .telemetry import Events, configure_logs
from .versions import Versions

__all__ = ["create_bff"]


def create_bff(
    name: str,
    *,
    clients: Sequence[type[ServiceClient]],
    settings: Settings | None = None,
    auth: Authenticator | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    versions: Versions | None = None,
    limits: Sequence[AnyLimit] = (),
    usage: Usage | None = None,
    problem_types: str | None = None,
    templates: str | Path | None = None,
    app_life: AppLife | None = None,
    **options: Any,
) -> Bff:
    """A gateway called ``name`` over the services of ``clients``.

    ``settings`` are loaded from the environment when not given. ``auth`` says who may come in. ``transport`` replaces
    the wire to every service (tests, proxies, HTTP/2). ``versions`` are those of its pages. Everything it serves is
    under ``limits``; what principals ask is counted in ``usage``. ``templates`` is the folder of those that ``html``
    pages have (extra ``ssr``). ``app_life`` is what it knows of the apps that are its clients. ``problem_types``
    (``"/problems/"``) is where the types of problems are: they are URIs below it, and what they mean can be read there.
    ``options`` are FastAPI's. Raises ``SettingsError`` when a service has no URL.
    """
    settings = settings or Settings.load()
    configure_logs(name, settings.log_level)
    events = Events()
    cache = make_cache(name, settings)
    proofs = next((found.proofs for found in _sessions_in(auth) if found.proofs is not None), None)
    bound, upstreams = bind_clients(clients, settings, transport, events, cache, name, proofs)
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
        lifespan=make_lifespan(
            upstreams, cache, make_mirror(name, settings, events), auth, options.pop("lifespan", None)
        ),
        # Of plain routes; a page does the same without FastAPI.
        dependencies=[
            *([Depends(entered)] if limits or auth is not None else []),
            *([Depends(authenticated)] if auth is not None else []),
        ],
        **docs,
        **options,
    )
    app.auth = auth
    app.enter = entrance(app, guard, Gate(auth) if auth is not None else None)
    app.versions = versions
    app.app_life = app_life
    app.usage = usage
    if templates is not None:
        from .ssr import Templates  # noqa: PLC0415 - Jinja2 is an extra

        app.templates = Templates(templates)
    app.upstreams = upstreams
    app.operations = watch(app, cache)
    app.transport = transport
    app._bind = partial(bind_service, settings=settings, transport=transport, events=events)  # noqa: SLF001 - assembled here
    app.router.routes += [
        Route("/health/live", live, include_in_schema=False),
        Route("/health/ready", ready, include_in_schema=False),
    ]
    app.sessions = _mount_sessions(app, auth)
    if app_life is not None:
        mount_app_life(app, app_life, gateway=name, settings=settings, auth=auth)
    if app.templates is not None:
        app.templates.expect(app.sessions.provider_origin if app.sessions is not None else None)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, validation_problem)
    cors = CorsPolicy(settings.cors) if settings.cors is not None else None
    if versions is not None and settings.docs:
        app.router.routes += [
            Route("/openapi/{version}.json", openapi_of, include_in_schema=False),
            Route("/docs/{version}", reference_of, include_in_schema=False),
        ]
    app.admission = Admission(settings, HostRule(settings.allowed_hosts), cors)
    edge: dict[str, Any] = {
        "deadline": settings.deadline,
        "admission": app.admission,
        "headers": AnswerHeaders(settings.hardening, cors, filter(None, (app.docs_url, app.redoc_url))),
        "challenge": auth.challenge if auth is not None else None,
        "access": app.access,
        "sign_in": app.sessions.hint if app.sessions is not None else None,
        "meter": app.operations.gateway.other,
        "tracer": app.operations.tracer,
        "proxies": TrustedProxies(settings.trusted_proxies),
        "enter": app.enter,
        "versions": versions,
        "version_gate": app_life.enter if app_life is not None else None,
        "usage": usage,
        "problem_types": named_types(problem_types) if problem_types is not None else None,
        "problem_page": app.templates.problem_page if app.templates is not None else None,
    }
    if problem_types is not None:
        app.router.routes.append(problems_route(problem_types))
    app.add_middleware(Edge, **edge)
    app.direct = None if "exception_handlers" in options else Edge(app, **edge)
    app.handlers = frozenset(app.exception_handlers)
    return app


def _mount_sessions(app: Bff, auth: Authenticator | None) -> OidcSessions | None:
    """The browser sessions among the ways of ``auth``, with their routes in ``app``."""
    found = _sessions_in(auth)
    if len(found) > 1:
        raise DeclarationError(f"gateway '{app.name}' has {len(found)} OidcSessions; browsers have one cookie")
    guard = app.limiter.guard(app._limits, private=False) or Guard()  # noqa: SLF001 - assembled here

    async def admit(request: Request) -> None:
        await guard.enter(request.scope, current_context(), None)

    for sessions in found:
        app.router.routes += sessions.mount(app.name, admit)
    return found[0] if found else None


def _sessions_in(auth: Authenticator | None) -> list[OidcSessions]:
    return [member for member in (members_of(auth) if auth is not None else ()) if isinstance(member, OidcSessions)]
