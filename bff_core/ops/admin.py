"""Keys and plans of partners over HTTP, for whoever runs the gateway: on the operations port alone."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..auth import KeyRecord, StoredKeys
from ..errors import PROBLEM_JSON, DeclarationError, Problem
from ..hardening.body import BodyCaps, LimitedBody
from ..limits import AnyLimit, check_plan
from ..versions import Versions

__all__ = ["admin_app"]

YEARS = 10 * 366 * 86_400
BODY = BodyCaps(max_body=64 * 1024, timeout=10.0, max_json_depth=8, max_json_members=2000)
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]  # PostgreSQL has no NUL

Tenant = Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
Id = Annotated[str, Path(max_length=40, pattern=r"^[0-9A-Za-z_-]+$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewKey(_Body):
    """``expires_in`` is in seconds; ``version`` pins the key."""

    partner: Text
    tenant: Text | None = None
    name: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""
    scopes: list[Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,100}$")]] = []
    plan: Text | None = None
    version: str | None = None
    expires_in: Annotated[float | None, Field(gt=0, le=YEARS)] = None
    environment: Literal["live", "test"] = "live"


class Rotation(_Body):
    """``grace``: seconds for which the old key goes on."""

    grace: Annotated[float, Field(ge=0, le=YEARS)] = 7 * 86_400.0


class Booked(_Body):
    """The plan of a tenant, and limits by name that stand instead of the plan's."""

    plan: Text | None = None
    limits: dict[str, Any] | None = None


def admin_app(
    keys: StoredKeys, versions: Versions | None, limits: Mapping[str, AnyLimit], token: str | None = None
) -> ASGIApp:
    """The application: ``keys`` to issue, list, rotate and revoke, the plans of their tenants among those of
    ``limits``. A key is in the answer that made it, and nowhere else. With a ``token`` it is for its bearer alone."""
    app = FastAPI(
        title="partners",
        openapi_url=None,
        dependencies=[Depends(_by_a_program)],
        exception_handlers={Problem: _problem, RequestValidationError: _not_valid, LookupError: _not_there},
    )
    store = keys.store

    @app.get("/keys")
    async def listed(partner: Text | None = None, tenant: Text | None = None) -> dict[str, Any]:
        now = time.time()
        return {"items": [_shown(record, now) for record in await store.issued(partner, tenant=tenant)]}

    @app.post("/keys", status_code=201)
    async def issue(body: NewKey) -> dict[str, Any]:
        given = body.model_dump()
        if body.version is not None:
            given["version"] = _version(versions, body.version)
        _check(limits, body.plan, None)
        try:
            key, record = await store.issue(given.pop("partner"), **given)
        except ValueError as error:
            raise Problem(422, f"Give the key another 'tenant', or 'partner': {error}.") from None
        return {"key": key, **_shown(record, time.time())}

    @app.post("/keys/{key_id}/rotate", status_code=201)
    async def rotate(key_id: Id, body: Rotation) -> dict[str, Any]:
        key, record = await store.rotate(key_id, grace=body.grace)
        return {"key": key, **_shown(record, time.time())}

    @app.post("/keys/{key_id}/revoke")
    async def revoke(key_id: Id) -> dict[str, Any]:
        if not await store.revoke(key_id):
            raise LookupError(f"there is no key '{key_id}' that is not revoked")
        return {"id": key_id, "in_force_within": keys.ttl}

    @app.get("/plans")
    async def plans() -> dict[str, Any]:
        known = {name: {"default": limit.default, **limit.plans} for name, limit in limits.items()}
        booked = [{"tenant": each.tenant, "plan": each.plan, "limits": each.limits} for each in await store.plans.all()]
        return {"limits": known, "items": booked}

    @app.put("/plans/{tenant}")
    async def book(tenant: Tenant, body: Booked) -> dict[str, Any]:
        _check(limits, body.plan, body.limits)
        try:
            await store.plans.put(tenant, body.plan, body.limits)
        except ValueError as error:
            raise Problem(422, f"This cannot name a tenant: {error}.") from None
        return {"tenant": tenant, "plan": body.plan, "limits": body.limits, "in_force_within": keys.ttl}

    @app.delete("/plans/{tenant}", status_code=204)
    async def unbook(tenant: Tenant) -> None:
        if not await store.plans.remove(tenant):
            raise LookupError(f"'{tenant}' has booked nothing")

    return _Entrance(app, token)


class _Entrance:
    """Before anything of a body is read: who it is, where there is a ``token``. Then no more of it than is wanted."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if self._expected is not None:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")  # RFC 9110 section 11.1
            if not hmac.compare_digest(given, self._expected) or scheme.lower() != b"bearer":
                problem = Problem(401, "Send the token of this port.", headers={"www-authenticate": "Bearer"})
                await _answer(problem)(scope, receive, send)
                return
        await self._app(scope, LimitedBody(receive, BODY, headers), send)


async def _by_a_program(request: Request, response: Response) -> None:
    """What browsers send across origins without asking first (Fetch, CORS-safelisted requests) is never JSON."""
    response.headers["cache-control"] = "no-store"
    if request.method not in ("GET", "HEAD") and request.headers.get("content-type") != "application/json":
        raise Problem(415, "Send it with Content-Type: application/json.")


def _shown(record: KeyRecord, now: float) -> dict[str, Any]:
    names = ("id", "partner", "tenant", "hint", "name", "plan", "version", "created_at", "expires_at", "revoked_at")
    shown = {name: getattr(record, name) for name in (*names, "replaced_by", "last_used_at")}
    return {**shown, "scopes": sorted(record.scopes), "state": record.state(now)}


def _version(versions: Versions | None, name: str) -> str:
    try:
        return (versions or {})[name].name  # type: ignore[index]  # an empty dictionary has none
    except KeyError:
        there = [] if versions is None else [version.name for version in versions.all]
        raise Problem(422, f"There is no version '{name[:40]}'.", supported=there) from None


def _check(limits: Mapping[str, AnyLimit], plan: str | None, own: Mapping[str, Any] | None) -> None:
    try:
        check_plan(limits, plan, own)
    except DeclarationError as error:
        raise Problem(422, str(error)) from None


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
    return _answer(error)


def _answer(error: Problem) -> Response:
    headers = {"cache-control": "no-store", **error.headers}
    return Response(error.body(), error.status, headers, media_type=PROBLEM_JSON.decode())


async def _not_there(request: Request, error: Exception) -> Response:
    return await _problem(request, Problem(404, f"{error.args[0]}."))


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
    errors = [{"name": ".".join(map(str, each["loc"][1:])), "detail": each["msg"]} for each in error.errors()]
    return await _problem(request, Problem(422, "The request is not valid.", errors=errors))
