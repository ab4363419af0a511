"""A page on a route: FastAPI's routing and OpenAPI, without the work per request that the plan has done already."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import params as fastapi_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, create_model
from starlette.routing import compile_path

from ..auth import Gate
from ..errors import DeclarationError, Problem
from ..limits import Criticality
from ..versions import Version, Versions
from .declare import Page
from .endpoint import PageEndpoint, PageServices
from .inputs import RequestInputs
from .plan import Plan
from .versioned import PageVersions

__all__ = ["SECURITY", "PageRoute", "ProblemDocument", "documented", "endpoint_of", "version_parameter"]

SECURITY = "gateway"
"""The name of the gateway's security scheme in its OpenAPI document; further ones are ``gateway-2`` and so on."""


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None


class PageRoute(APIRoute):
    """Serves one page, to anybody when ``gate`` is None; in all ``versions``, or in the one whose path it is."""

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
        versions: Versions | None = None,
        version: Version | None = None,
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
        }
        self.version = version
        self.versions = PageVersions(versions, page, plan, self.inputs, version) if versions is not None else None
        super().__init__(
            path,
            endpoint_of(plan, self._parameters(versions), selectable=method == "GET"),
            methods=[method],
            status_code=status,
            name=plan.name,
            summary=plan.doc.partition("\n")[0] or plan.name,
            description=plan.doc,
            include_in_schema=version is None,
            response_model=documented(plan, plan.model),
            openapi_extra={"security": gate.requirements(SECURITY)} if gate is not None else None,
            responses={
                code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
                for code, text in _PROBLEMS.items()
                if answers.get(code, True)
            },
        )
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
            for entry, declared in zip(self.plan.inputs, self.inputs.declared, strict=True)
        ]
        return parameters if versions is None else [*parameters, version_parameter(versions)]

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
    403: "This is not allowed.",
    404: "There is no such resource.",
    422: "A parameter is missing or not valid.",
    502: "A required service gave no usable answer.",
    503: "A required service is not available.",
    504: "A required service did not answer in time.",
}


def documented(plan: Plan, model: type[BaseModel]) -> type[BaseModel]:
    """The answer's model as OpenAPI shows it: with ``_degraded`` where a section may fail."""
    if not plan.optional_names:
        return model
    degraded: Any = Field(default=None, alias="_degraded", description="The sections that failed and show a fallback.")
    shown: type[BaseModel] = create_model(
        f"{model.__name__}Page", __base__=model, degraded_=(list[str] | None, degraded)
    )
    return shown


def version_parameter(versions: Versions, version: Version | None = None) -> inspect.Parameter:
    """The header that says for which version a request is; it must, when there is no other way to ``version``."""
    names = [each.name for each in versions.all] if version is None else [version.name]
    required = version is not None and version is not versions.head
    annotation: Any = Literal[tuple(names)]
    return inspect.Parameter(
        "api_version_",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[
            annotation if required else annotation | None, fastapi_params.Header(alias=versions.header)
        ],
        default=inspect.Parameter.empty if required else None,
    )


def endpoint_of(plan: Plan, parameters: list[inspect.Parameter], *, selectable: bool) -> Callable[..., Any]:
    """A function with the signature FastAPI's OpenAPI needs; it is never called."""

    async def endpoint(**_: Any) -> None:
        raise Problem(500)

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
