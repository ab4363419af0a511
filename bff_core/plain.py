"""What a gateway answers besides its pages: its health, and FastAPI's own errors as problem documents; and who may use
its plain routes."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import SecurityScopes
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from .auth import Authenticator, Gate
from .context import Principal, current_context
from .errors import Problem, Refused
from .pages.methods import allowed_methods

__all__ = ["authenticated", "http_problem", "live", "ready", "validation_problem"]


async def live(request: Request) -> Response:  # noqa: ARG001 - the signature of an endpoint
    """The process answers."""
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def ready(request: Request) -> Response:
    """It may be sent requests."""
    if not request.app.ready:
        raise Problem(503, "Not ready.")
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def http_problem(request: Request, error: Exception) -> Response:
    """FastAPI's and Starlette's own errors, as problem documents."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
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
        for entry in error.errors()
    ]
    raise Problem(422, "The request has parameters that are missing or not valid.", errors=errors)


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
