"""What a gateway answers besides its pages: its health, plain routes and who may use them, and FastAPI's own errors as
problem documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from .auth import Authenticator, Gate
from .context import Principal, current_context
from .errors import Problem, Refused
from .limits import Guard
from .pages.inputs import SHOWN
from .pages.methods import allowed_methods
from .reference import HEADERS, reference_page

__all__ = [
    "authenticated",
    "entered",
    "entrance",
    "http_problem",
    "live",
    "openapi_of",
    "ready",
    "reference_of",
    "validation_problem",
]


def entrance(app: object, guard: Guard, gate: Gate | None) -> Callable[[Scope], Awaitable[None]]:
    """What lets requests into the plain routes of ``app``: once, by ``guard`` and ``gate``. FastAPI reads a body before
    it asks a dependency, and says what is wrong with it to whomever; so whoever reads first has to call this."""

    async def enter(scope: Scope) -> None:
        context, route = current_context(), scope.get("route")
        # Pages and what else enters by itself have said their route by the time they read anything.
        if context.route is None and isinstance(route, APIRoute) and scope.get("app") is app:
            # Of an included router's route FastAPI has the whole path here; the route itself is without the prefix.
            whole = scope.get("fastapi", {}).get("effective_route_context")
            context.route = getattr(whole, "path", None) or route.path
            await guard.enter(scope, context, gate)

    return enter


async def live(request: Request) -> Response:  # noqa: ARG001 - the signature of an endpoint
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def ready(request: Request) -> Response:
    """It may be sent requests."""
    if not request.app.ready:
        raise Problem(503, "Not ready.")
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def openapi_of(request: Request) -> Response:
    """The OpenAPI document of one version."""
    try:
        return JSONResponse(request.app.openapi_of(request.path_params["version"]))
    except KeyError:
        raise Problem(404, "There is no such version.") from None


async def reference_of(request: Request) -> Response:
    """The documentation of one version, for people."""
    app = request.app
    try:
        version = app.versions[request.path_params["version"]]
    except KeyError:
        raise Problem(404, "There is no such version.") from None
    return HTMLResponse(reference_page(app.openapi_of(version.name), app.versions, version), headers=HEADERS)


async def http_problem(request: Request, error: Exception) -> Response:
    """FastAPI's and Starlette's own errors, as problem documents."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
    if isinstance(error.__cause__, (Problem, ClientDisconnect)):
        raise error.__cause__  # FastAPI met it where it read the body
    detail = error.detail if isinstance(error.detail, str) else None
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allowed_methods(request.scope, request.app.router.routes)
    raise Problem(error.status_code, detail, headers=headers)


async def validation_problem(_: Request, error: Exception) -> Response:
    """Wrong parameters of plain routes, as a problem document."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    errors = [
        {"in": str(entry["loc"][0]), "name": ".".join(str(part) for part in entry["loc"][1:]), "detail": entry["msg"]}
        for entry in error.errors()[:SHOWN]
    ]
    raise Problem(422, "The request has parameters that are missing or not valid.", errors=errors)


async def entered(request: Request) -> None:
    """A FastAPI dependency: the request was let in, whatever reads its body next."""
    await request.app.enter(request.scope)


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
