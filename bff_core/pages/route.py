"""A page on a route: FastAPI's routing and OpenAPI, without the work per request that the plan has done already."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Literal, TypedDict

from fastapi import params as fastapi_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, create_model
from starlette.routing import BaseRoute, Match, compile_path
from starlette.types import Receive, Scope, Send

from ..auth import Allow
from ..errors import DeclarationError, Problem
from ..limits import AnyLimit, Criticality
from ..telemetry import PageMeter, SectionMeter
from ..versions import Version, Versions
from .declare import Page
from .document import key_parameter, list_pattern, problem_texts, takes_key
from .endpoint import PageEndpoint
from .fields import Members, members_of, members_pattern
from .inputs import RequestInputs
from .messages import EVENT_STREAM, NDJSON
from .methods import without_body
from .plan import Input, Plan
from .serving import PageServices, Serving
from .versioned import PageVersions

__all__ = [
    "SECURITY",
    "PageOptions",
    "PageRoute",
    "ProblemDocument",
    "check_free",
    "documented",
    "endpoint_of",
    "page_routes",
    "version_parameter",
]

SECURITY = "gateway"
"""The name of the gateway's security scheme in its OpenAPI document; further ones are ``gateway-2`` and so on."""


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
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
    """Serves one page as ``serving`` says; in all ``versions``, or in the one whose path it is."""

    def __init__(
        self,
        path: str,
        page: type[Page],
        serving: Serving,
        *,
        services: PageServices,
        versions: Versions | None = None,
        version: Version | None = None,
        meter: PageMeter | None = None,
    ) -> None:
        method, gate = serving.method, serving.gate
        plan = page.plan
        if gate is None and plan.uses_principal:
            raise DeclarationError(f"{plan.name}: uses the principal, so its route cannot be public")
        self.page = page
        self.plan = plan
        self.method = method
        self._check_place(path)
        _, _, convertors = compile_path(path)
        self.inputs = RequestInputs(plan, list(convertors))
        self._check_method(method)
        guarded = any(section.allow is not None for section in plan.sections)
        answers = {
            401: gate is not None,
            403: gate is not None and (gate.restricts or guarded),
            404: bool(convertors),
            409: serving.once is not None,
            410: versions is not None,
            429: serving.guard is not None,
        }
        self.version = version
        self.once = serving.once
        self.versions = PageVersions(versions, page, plan, self.inputs, version) if versions is not None else None
        super().__init__(
            path,
            endpoint_of(
                plan,
                self._parameters(versions),
                members_of(plan.model),
                plan.optional_names,
                selectable=method == "GET",
            ),
            methods=[method],
            status_code=serving.status,
            name=plan.name,
            summary=plan.doc.partition("\n")[0] or plan.name,
            description=plan.doc,
            include_in_schema=version is None and (serving.streaming is None or serving.streaming.in_schema),
            response_model=documented(plan, plan.model),
            openapi_extra={"security": gate.requirements(SECURITY)} if gate is not None else None,
            responses=_short_answers(method, etag=services.delivery.etag)
            | _streams(serving)
            | {
                code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
                for code, text in problem_texts(plan, answers, has_body=self.inputs.body is not None).items()
            },
        )
        meters = [SectionMeter(section.name, required=section.required) for section in plan.sections]
        self.meter = meter or PageMeter(plan.name, method, path, meters)
        self.app = self.direct = PageEndpoint(
            plan,
            self.inputs,
            path,
            serving,
            services=services,
            meter=self.meter,
            versions=self.versions,
        )

    def _parameters(self, versions: Versions | None) -> list[inspect.Parameter]:
        parameters = [
            inspect.Parameter(
                entry.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[entry.annotation, declared],
                default=entry.default,
            )
            for entry, declared in self.documented_inputs
        ]
        if versions is not None:
            parameters.append(version_parameter(versions, versions.head))
        return parameters + self.further_parameters

    @property
    def documented_inputs(self) -> list[tuple[Input, fastapi_params.Param | fastapi_params.Body]]:
        """The page's inputs as they are documented; the Idempotency-Key is, when a ledger has it, no longer its own."""
        pairs = zip(self.plan.inputs, self.inputs.declared, strict=True)
        return [pair for pair in pairs if self.once is None or not takes_key(pair[1], pair[0].name)]

    @property
    def further_parameters(self) -> list[inspect.Parameter]:
        """What every version has besides its inputs."""
        return [] if self.once is None else [key_parameter(required=self.once.required)]

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

    def _check_place(self, path: str) -> None:
        if not path.startswith("/"):
            raise DeclarationError(f"{self.plan.name}: the path '{path}' must begin with '/': '/{path}'")
        if self.method not in METHODS:
            raise DeclarationError(f"{self.plan.name}: method='{self.method}' must be one of {', '.join(METHODS)}")

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


def page_routes(
    path: str, page: type[Page], serving: Serving, services: PageServices, versions: Versions | None
) -> list[PageRoute]:
    """The page at ``path``, and under the path of each version that has one; counted as one."""
    route = PageRoute(path, page, serving, services=services, versions=versions)
    return [route] + [
        PageRoute(
            version.path + path, page, serving, services=services, versions=versions, version=version, meter=route.meter
        )
        for version in (versions.all if versions is not None else ())
        if versions is not None and version.path is not None and versions.has_page(page, version)
    ]


def check_free(new: PageRoute, routes: Sequence[BaseRoute]) -> None:
    """Raise ``DeclarationError`` when a page in ``routes`` gets all the requests that ``new`` is for."""
    for route in routes:
        if isinstance(route, PageRoute) and route.method == new.method and _form(route) == _form(new):
            raise DeclarationError(
                f"{new.plan.name}: {route.plan.name} is at {new.method} '{route.path}' already, and gets every request "
                f"for '{new.path}'; give one of them another path or method"
            )


def _form(route: PageRoute) -> str:
    return re.sub(r"\{\w+", "{", route.path)


def _short_answers(method: str, *, etag: bool) -> dict[int | str, dict[str, Any]]:
    """The answers without content."""
    if method != "GET":
        return {204: {"description": "Done; this is what `Prefer: return=minimal` is answered."}}
    return {304: {"description": "It is still what `If-None-Match` names."}} if etag else {}


def _streams(serving: Serving) -> dict[int | str, dict[str, Any]]:
    return {} if serving.streaming is None else {serving.status: {"content": STREAMS}}


def documented(plan: Plan, model: type[BaseModel]) -> type[BaseModel]:
    """The answer's model as OpenAPI shows it: with ``_degraded`` where a section may fail."""
    if not plan.optional_names:
        return model
    degraded: Any = Field(default=None, alias="_degraded", description="The sections that failed and show a fallback.")
    shown: type[BaseModel] = create_model(
        f"{model.__name__}Page", __base__=model, degraded_=(list[str] | None, degraded)
    )
    return shown


def version_parameter(versions: Versions, version: Version) -> inspect.Parameter:
    """The header with which a request is for ``version``: without it, it is for the head. Others are documented
    elsewhere."""
    required = version is not versions.head
    annotation: Any = Literal[version.name]
    return inspect.Parameter(
        "api_version_",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[
            annotation if required else annotation | None, fastapi_params.Header(alias=versions.header)
        ],
        default=inspect.Parameter.empty if required else None,
    )


def endpoint_of(
    plan: Plan, parameters: list[inspect.Parameter], members: Members, optional: Collection[str], *, selectable: bool
) -> Callable[..., Any]:
    """A function with the signature FastAPI's OpenAPI needs, of a page that has ``members`` and ``optional`` sections;
    it is never called."""

    async def endpoint(**_: Any) -> None:
        raise Problem(500)

    extra = {"fields": ("Only these members, and of one only some: `a,b.c,d(e,f)`.", members_pattern(members))}
    if optional:
        names = sorted(optional)
        text = f"Only these optional sections, separated by commas: {', '.join(names)}."
        extra["include"] = (text, list_pattern(names))
    if selectable:
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[str | None, fastapi_params.Query(description=text, pattern=pattern)],
                default=None,
            )
            for name, (text, pattern) in extra.items()
        ]
    elif "prefer" not in {parameter.name for parameter in parameters}:
        # A page that reads the header itself has documented it.
        prefer = fastapi_params.Header(description="`return=minimal` for an answer without content (RFC 7240).")
        parameters.append(
            inspect.Parameter(
                "prefer", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[str | None, prefer], default=None
            )
        )
    endpoint.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # the documented way to set one
    endpoint.__name__ = plan.name
    return endpoint
