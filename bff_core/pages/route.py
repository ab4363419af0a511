"""A page on a route: FastAPI's routing and OpenAPI, without the work per request that the plan has done already."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import params as fastapi_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, create_model
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from ..auth import Authenticator
from ..clients import ServiceClient
from ..context import RequestContext, current_context
from ..errors import DeclarationError, Problem
from ..limits import Criticality, Shedder
from ..telemetry import Event, Events, PageMeter, SectionMeter
from .body import read_json_body
from .declare import Page
from .disconnect import DisconnectWatcher
from .inputs import RequestInputs, parse_query
from .last_good import LastGoodValues
from .plan import Plan
from .run import DONE, SKIPPED, Bound, Run
from .select import Selector

__all__ = ["SECURITY", "PageEndpoint", "PageRoute", "PageServices", "ProblemDocument"]

SECURITY = "gateway"
"""The name of the gateway's security scheme in its OpenAPI document."""

JSON = (b"content-type", b"application/json")
PRIVATE = (b"cache-control", b"private, no-store")


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class PageServices:
    """What pages need of their gateway. ``client`` gives a class's client, bound to its service, for the named user;
    ``max_body`` is in bytes."""

    client: Callable[[type[ServiceClient], str], ServiceClient]
    max_body: int
    shedder: Shedder
    last_good: LastGoodValues
    events: Events


class PageRoute(APIRoute):
    """Serves one page, to anybody when ``auth`` is None."""

    def __init__(
        self,
        path: str,
        page: type[Page],
        *,
        method: str,
        status: int,
        auth: Authenticator | None,
        criticality: Criticality,
        services: PageServices,
    ) -> None:
        plan = page.plan
        if auth is None and plan.uses_principal:
            raise DeclarationError(f"{plan.name}: uses the principal, so its route cannot be public")
        self.page = page
        self.plan = plan
        self.method = method
        _, _, convertors = compile_path(path)
        self.inputs = RequestInputs(plan, list(convertors))
        self._check_method(method)
        super().__init__(
            path,
            _endpoint(plan, self.inputs, selectable=method == "GET"),
            methods=[method],
            status_code=status,
            name=plan.name,
            summary=plan.doc.partition("\n")[0] or plan.name,
            description=plan.doc,
            response_model=_documented(plan),
            openapi_extra={"security": [{SECURITY: []}]} if auth is not None else None,
            responses={
                code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
                for code, text in _PROBLEMS.items()
                if (code != 401 or auth is not None) and (code != 404 or convertors)  # noqa: PLR2004 - HTTP statuses
            },
        )
        meters = [SectionMeter(section.name, required=section.required) for section in plan.sections]
        self.meter = PageMeter(plan.name, method, path, meters)
        self.app = self.page_endpoint = PageEndpoint(
            self, status, auth=auth, criticality=criticality, services=services
        )

    def _check_method(self, method: str) -> None:
        plan = self.plan
        if method == "GET":
            if self.inputs.body is not None:
                raise DeclarationError(f"{plan.name}: a GET page has no body, but '{self.inputs.body.name}' is one")
            for section in plan.sections:
                if section.operation is not None and section.operation.method != "GET":
                    raise DeclarationError(
                        f"{plan.name}.{section.name}: a GET page must not {section.operation.method}"
                    )


_PROBLEMS = {
    400: "The request is not usable.",
    401: "Credentials are missing or not valid.",
    404: "There is no such resource.",
    422: "A parameter is missing or not valid.",
    502: "A required service gave no usable answer.",
    503: "A required service is not available.",
    504: "A required service did not answer in time.",
}


class PageEndpoint:
    """The ASGI application of one page; ``serve`` is the same for who knows context and path already."""

    def __init__(
        self,
        route: PageRoute,
        status: int,
        *,
        auth: Authenticator | None,
        criticality: Criticality,
        services: PageServices,
    ) -> None:
        plan, clients = route.plan, services.client
        self._plan = plan
        self._inputs = route.inputs
        self._selector = Selector(plan)
        self._auth = auth
        self._max_body = services.max_body
        self._shedder = services.shedder
        self._events = services.events
        self._criticality = criticality
        self._last_good = services.last_good
        self._watches = route.method == "GET"
        self._path = route.path
        self._meter = route.meter
        self._status = status
        self._reads_query = route.inputs.reads_query
        self._template = list(plan.template)
        for slot, client in plan.clients.items():
            self._template[slot] = clients(client, plan.name)
        self._bound: Bound = tuple(
            None
            if section.operation is None
            else clients(section.operation.owner, f"{plan.name}.{section.name}").bound[section.operation.name]
            for section in plan.sections
        )
        self._serialize = plan.model.__pydantic_serializer__.to_json
        self._labels = [f"{section.name};dur=" for section in plan.sections]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(scope, receive, send, current_context(), scope["path_params"])

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, path_params: dict[str, Any]
    ) -> None:
        """Answer one request."""
        context.route = self._path
        context.meter = meter = self._meter
        meter.in_flight += 1
        if not self._shedder.admits(self._criticality):
            meter.shed += 1
            self._events.emit(Event("OnShed", "warning", self._plan.name, "LoadShedding", detail=self._criticality))
            raise Problem(503, "There is more to do than can be done; try again soon.", headers={"retry-after": "1"})
        if self._auth is not None:
            context.principal = await self._auth.authenticate(scope["headers"])
            context.authenticated()
        query = parse_query(scope["query_string"])
        selection = self._selector.read(query)
        body = await read_json_body(scope, receive, self._max_body) if self._inputs.body is not None else b""
        values = self._template.copy()
        values[self._plan.principal_slot] = context.principal
        values[self._plan.context_slot] = context
        self._inputs.fill(values, path_params, query, scope["headers"], body)
        run = Run(self._plan, self._bound, context, values, selection.sections, self._last_good)
        # What may have changed something is finished, whoever has left meanwhile.
        watcher = DisconnectWatcher(receive, run) if self._watches else None
        try:
            await run.complete()
        finally:
            if watcher is not None:
                watcher.stop()
            meter.ran(run.state, run.seconds, context.degraded)
        shaped = self._plan.shape(*self._plan.shape_arguments(values))
        content = self._serialize(shaped, include=selection.fields, by_alias=True)
        if context.degraded:
            content = _mark(
                content, [section.name for section in self._plan.sections if section.name in context.degraded]
            )
        headers = [
            JSON,
            (b"content-length", b"%d" % len(content)),
            (b"server-timing", self._timing(run, context)),
            *context.reply_headers,
        ]
        if self._auth is not None or context.degraded:
            headers.append(PRIVATE)
        context.status = self._status
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _timing(self, run: Run, context: RequestContext) -> bytes:
        """Server-Timing (W3C): milliseconds per section that ran, and for the whole page."""
        state = run.state
        entries = [
            f"{label}{seconds * 1000:.1f}" + ("" if state[index] == DONE else ';desc="degraded"')
            for index, (label, seconds) in enumerate(zip(self._labels, run.seconds, strict=True))
            if state[index] != SKIPPED
        ]
        entries.append(f"total;dur={(time.monotonic() - context.started) * 1000:.1f}")
        return ", ".join(entries).encode()


def _mark(content: bytes, degraded: list[str]) -> bytes:
    """``content``, a JSON object, with the member ``_degraded``."""
    member = b'"_degraded":' + json.dumps(degraded, separators=(",", ":")).encode() + b"}"
    return content[:-1] + (b"," if len(content) > 2 else b"") + member  # noqa: PLR2004 - longer than {}


def _documented(plan: Plan) -> type[BaseModel]:
    """The answer's model as OpenAPI shows it: with ``_degraded`` where a section may fail."""
    if not plan.optional_names:
        return plan.model
    degraded = Field(default=None, alias="_degraded", description="The sections that failed and show a fallback.")
    model: type[BaseModel] = create_model(
        f"{plan.model.__name__}Page", __base__=plan.model, degraded_=(list[str] | None, degraded)
    )
    return model


def _endpoint(plan: Plan, inputs: RequestInputs, *, selectable: bool) -> Callable[..., Any]:
    """A function with the signature FastAPI's OpenAPI needs; it is never called."""

    async def endpoint(**_: Any) -> None:
        raise Problem(500)

    parameters = [
        inspect.Parameter(
            entry.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[entry.annotation, declared],
            default=entry.default,
        )
        for entry, declared in zip(plan.inputs, inputs.declared, strict=True)
    ]
    extra = {"fields": "Only these members, separated by commas."}
    if plan.optional_names:
        extra["include"] = (
            f"Only these optional sections, separated by commas: {', '.join(sorted(plan.optional_names))}."
        )
    if selectable:
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[str | None, fastapi_params.Query(description=text)],
                default=None,
            )
            for name, text in extra.items()
        ]
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # the documented way to set one
    endpoint.__name__ = plan.name
    return endpoint
