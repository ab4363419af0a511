"""A page on a route: FastAPI's routing and OpenAPI, without the work per request that the plan has done already."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, TypedDict

from fastapi import params as fastapi_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, create_model
from starlette.routing import Match, compile_path
from starlette.types import Receive, Scope, Send

from ..auth import Allow, Gate
from ..errors import DeclarationError, Problem
from ..limits import AnyLimit, Criticality, Guard
from ..telemetry import PageMeter, SectionMeter
from .declare import Page
from .document import list_pattern, problem_texts
from .endpoint import PageEndpoint, PageServices
from .inputs import RequestInputs
from .messages import EVENT_STREAM, NDJSON
from .methods import without_body
from .plan import Plan
from .stream import Delivery

__all__ = ["SECURITY", "PageOptions", "PageRoute", "ProblemDocument"]

SECURITY = "gateway"
"""The name of the gateway's security scheme in its OpenAPI document; further ones are ``gateway-2`` and so on."""

STREAMS: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in (EVENT_STREAM, NDJSON)}


class PageOptions(TypedDict, total=False):
    """Who gets a page, and how much of it; see ``Bff.page``."""

    public: bool
    scopes: Collection[str]
    allow: Allow | None
    criticality: Criticality
    limits: Sequence[AnyLimit]


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None


class PageRoute(APIRoute):
    """Serves one page, to anybody when ``gate`` is None; as ``delivery`` has it to whom it takes."""

    def __init__(
        self,
        path: str,
        page: type[Page],
        *,
        method: str,
        status: int,
        gate: Gate | None,
        criticality: Criticality,
        cache: bool,
        services: PageServices,
        guard: Guard | None,
        delivery: Delivery | None = None,
    ) -> None:
        plan = page.plan
        if gate is None and plan.uses_principal:
            raise DeclarationError(f"{plan.name}: uses the principal, so its route cannot be public")
        self.page = page
        self.plan = plan
        self.method = method
        _, _, convertors = compile_path(path)
        self.inputs = RequestInputs(plan, list(convertors))
        self._check_method(method)
        guarded = any(section.allow is not None for section in plan.sections)
        answers = {
            401: gate is not None,
            403: gate is not None and (gate.restricts or guarded),
            404: bool(convertors),
            429: guard is not None,
        }
        super().__init__(
            path,
            _endpoint(plan, self.inputs, selectable=method == "GET"),
            methods=[method],
            status_code=status,
            name=plan.name,
            summary=plan.doc.partition("\n")[0] or plan.name,
            description=plan.doc,
            response_model=_documented(plan),
            include_in_schema=delivery is None or delivery.in_schema,
            openapi_extra={"security": gate.requirements(SECURITY)} if gate is not None else None,
            responses=_streams(delivery, status)
            | {
                code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
                for code, text in problem_texts(plan, answers, has_body=self.inputs.body is not None).items()
            },
        )
        meters = [SectionMeter(section.name, required=section.required) for section in plan.sections]
        self.meter = PageMeter(plan.name, method, path, meters)
        self.app = self.page_endpoint = PageEndpoint(
            plan,
            self.inputs,
            path,
            method,
            status,
            gate=gate,
            criticality=criticality,
            cache=cache,
            services=services,
            meter=self.meter,
            guard=guard,
            delivery=delivery,
        )

    @property
    def answers_head(self) -> bool:
        """Whether HEAD is answered as GET is, without the body."""
        return self.method == "GET"

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; called for a method that is not the page's as well, when no route has that method."""
        if scope["method"] == "HEAD":
            for route in scope["app"].router.routes:
                if isinstance(route, PageRoute) and route.answers_head:
                    match, child_scope = route.matches(scope)
                    if match is not Match.NONE:
                        scope.update(child_scope)
                        await route.app(scope, receive, without_body(send))
                        return
        await super().handle(scope, receive, send)

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


def _documented(plan: Plan) -> type[BaseModel]:
    """The answer's model as OpenAPI shows it: with ``_degraded`` where a section may fail."""
    if not plan.optional_names:
        return plan.model
    degraded: Any = Field(default=None, alias="_degraded", description="The sections that failed and show a fallback.")
    model: type[BaseModel] = create_model(
        f"{plan.model.__name__}Page", __base__=plan.model, degraded_=(list[str] | None, degraded)
    )
    return model


def _streams(delivery: Delivery | None, status: int) -> dict[int | str, dict[str, Any]]:
    return {} if delivery is None else {status: {"content": STREAMS}}


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
    members = sorted(field.alias or name for name, field in plan.model.model_fields.items())
    extra = {"fields": ("Only these members, separated by commas.", members)}
    if plan.optional_names:
        names = sorted(plan.optional_names)
        extra["include"] = (f"Only these optional sections, separated by commas: {', '.join(names)}.", names)
    if selectable:
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[str | None, fastapi_params.Query(description=text, pattern=list_pattern(names))],
                default=None,
            )
            for name, (text, names) in extra.items()
        ]
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # the documented way to set one
    endpoint.__name__ = plan.name
    return endpoint
