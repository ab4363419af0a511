"""``POST /sync`` and ``GET /sync/poke`` as routes of a gateway."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from fastapi import Body
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..auth import Gate
from ..context import RequestContext, current_context
from ..delivery import Deliverer
from ..errors import Problem
from ..limits import Guard
from ..pages.body import read_json_body
from ..pages.route import SECURITY, ProblemDocument
from ..pages.serving import PageServices
from ..stores import StoreUnavailable
from ..telemetry import Event
from .messages import SyncAnswer, SyncRequest
from .service import Sync

__all__ = ["sync_routes"]

_PROBLEMS = {
    401: "Credentials are missing or not valid.",
    422: "The request is not one of this protocol.",
    429: "There have been too many requests.",
    503: "Nothing can be synchronized now.",
}
TOO_MANY = 429


def sync_routes(path: str, sync: Sync, gate: Gate, services: PageServices, guard: Guard | None) -> list[APIRoute]:
    """The two routes, under the limits of ``guard`` if there is one."""
    enter = _Entrance(gate, guard or Guard())
    common: dict[str, Any] = {
        "openapi_extra": {"security": gate.requirements(SECURITY)},
        "responses": {
            code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
            for code, text in _PROBLEMS.items()
            if code != TOO_MANY or guard is not None
        },
    }
    exchange = APIRoute(
        path, _sync, methods=["POST"], name="Sync", summary="Push and pull.", response_model=SyncAnswer, **common
    )
    poke = APIRoute(
        f"{path}/poke",
        _poke,
        methods=["GET"],
        name="Poke",
        summary="A stream of 'pull now'.",
        response_class=_EventStream,
        **common,
    )
    exchange.app = _SyncEndpoint(path, sync, enter, services)
    poke.app = _PokeEndpoint(f"{path}/poke", sync, enter)
    return [exchange, poke]


async def _sync(request: Annotated[SyncRequest, Body()]) -> Any:  # noqa: ARG001 - for OpenAPI only, never called
    raise Problem(500)


async def _poke() -> Any:
    raise Problem(500)


class _EventStream(Response):
    media_type = "text/event-stream"


class _Entrance:
    """Who comes in, and how often."""

    def __init__(self, gate: Gate, guard: Guard) -> None:
        self._gate = gate
        self._guard = guard

    async def __call__(self, path: str, scope: Scope) -> RequestContext:
        context = current_context()
        context.route = path
        await self._guard.enter(scope, context, self._gate)
        return context


class _SyncEndpoint:
    """The ASGI application of ``POST /sync``."""

    def __init__(self, path: str, sync: Sync, enter: _Entrance, services: PageServices) -> None:
        self._path = path
        self._sync = sync
        self._enter = enter
        self._services = services
        self._deliverer = Deliverer(services.delivery, tags=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = await self._enter(self._path, scope)
        services = self._services
        if not services.shedder.admits("default"):
            services.events.emit(Event("OnShed", "warning", "Sync", "LoadShedding", detail="default"))
            raise Problem(503, "There is more to do than can be done; try again soon.", headers={"retry-after": "1"})
        began = time.monotonic()
        body = await read_json_body(scope, receive, services.max_body)
        # What a phone takes to send is not the services' time: with none left it would send the same again, for ever.
        context.deadline += time.monotonic() - began
        request = _parse(body)
        try:
            content = await self._sync.answer(request, context)
        except StoreUnavailable:
            raise Problem(503, "Nothing can be synchronized now.", headers={"retry-after": "5"}) from None
        status, content, own = self._deliverer.deliver(scope["headers"], 200, content, b"")
        headers = [
            *own,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"private, no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class _PokeEndpoint:
    """The ASGI application of ``GET /sync/poke``."""

    def __init__(self, path: str, sync: Sync, enter: _Entrance) -> None:
        self._path = path
        self._sync = sync
        self._enter = enter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = await self._enter(self._path, scope)
        await self._sync.pokes.stream(context.authenticated(), receive, send)


def _parse(body: bytes) -> SyncRequest:
    try:
        return SyncRequest.model_validate_json(body)
    except ValidationError as error:
        request = _mended(body) if error.errors()[0]["type"] == "json_invalid" else None
        if request is not None:
            return request
        wrong = [
            {"in": "body", "pointer": "/" + "/".join(map(str, entry["loc"])), "detail": entry["msg"]}
            for entry in error.errors(include_url=False, include_input=False, include_context=False)[:20]
        ]
        raise Problem(422, "The request is not one of this protocol.", errors=wrong) from None


def _mended(body: bytes) -> SyncRequest | None:
    """A request with text that UTF-8 cannot hold, such as half of an emoji that an app cut off: with U+FFFD in its
    place, for if it were refused, all that is in the outbox behind it were, too."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False)
        clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return SyncRequest.model_validate(json.loads(clean))
    except (ValueError, RecursionError):
        return None
