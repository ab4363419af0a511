"""A page as an older version's OpenAPI document describes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

from fastapi import params as fastapi_params
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from ..versions import Version, Versions
from .fields import members_of
from .plan import Input
from .route import PageRoute, ProblemDocument, documented, endpoint_of, version_parameter
from .versioned import OlderPage

__all__ = ["version_document"]

Declared = fastapi_params.Param | fastapi_params.Body


def version_document(
    title: str,
    pages: Iterable[PageRoute],
    versions: Versions,
    version: Version,
    webhooks: Sequence[BaseRoute] = (),
) -> dict[str, Any]:
    """The OpenAPI document of ``pages`` and ``webhooks`` in ``version``."""
    routes = [_route(page, versions, version) for page in pages]
    there = [route for route in routes if route is not None]
    return get_openapi(title=title, version=version.name, routes=there, webhooks=webhooks)


def _route(route: PageRoute, versions: Versions, version: Version) -> APIRoute | None:
    """``route`` (one of all versions) in ``version``, None when it is not there; it serves nothing."""
    if route.versions is None:
        return None
    older = route.versions.older(version)
    if older is None and version is not versions.head:
        return None
    plan = route.plan
    model = plan.model if older is None else older.answer
    optional = plan.optional_names if older is None else older.selector.optional
    errors = versions.error_model(version)
    responses: dict[int | str, dict[str, Any]] = {}
    for code, response in route.responses.items():
        if errors is None or response.get("model") is not ProblemDocument:
            responses[code] = response
        else:
            responses[code] = {**response, "model": errors.model, "content": {errors.media_type: {}}}
    parameters = _parameters(route, older)
    if version.path is None:
        parameters.append(version_parameter(versions, version))
    parameters += route.further_parameters
    return APIRoute(
        (version.path or "") + route.path,
        endpoint_of(plan, parameters, members_of(model), optional, selectable=route.method == "GET"),
        methods=[route.method],
        status_code=route.status_code,
        name=plan.name,
        summary=route.summary,
        description=plan.doc,
        response_model=documented(plan, model),
        openapi_extra=route.openapi_extra,
        responses=responses,
        deprecated=version.deprecated is not None or None,
    )


def _parameters(route: PageRoute, older: OlderPage | None) -> list[inspect.Parameter]:
    found: list[inspect.Parameter] = []
    for entry, declared in route.documented_inputs:
        annotation: Any = entry.annotation
        if older is not None and isinstance(declared, fastapi_params.Body) and older.body_model is not None:
            annotation = older.body_model
        elif older is not None and isinstance(declared, fastapi_params.Query):
            name = declared.alias or entry.name
            called = next((known for known, head in older.parameters.items() if head == name), None)
            if called is None:
                continue
            if called != name:
                found.append(_parameter(entry, *_called(entry, declared, called)))
                continue
        found.append(_parameter(entry, annotation, declared))
    gone = [name for name, head in older.parameters.items() if head is None] if older is not None else []
    return found + [
        inspect.Parameter(
            f"gone_{number}",
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[
                str | None, fastapi_params.Query(alias=name, description="Is not looked at any more.")
            ],
            default=None,
        )
        for number, name in enumerate(gone)
    ]


def _parameter(entry: Input, annotation: Any, declared: Declared) -> inspect.Parameter:
    return inspect.Parameter(
        entry.name,
        inspect.Parameter.KEYWORD_ONLY,
        annotation=Annotated[annotation, declared],
        default=entry.default,
    )


def _called(entry: Input, declared: Declared, name: str) -> tuple[Any, Declared]:
    """The parameter's type and declaration under another name."""
    annotation = entry.annotation
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        others = (*(extra for extra in extras if extra is not declared), *declared.metadata)
        annotation = Annotated[(base, *others)] if others else base
    return annotation, fastapi_params.Query(alias=name, description=declared.description)
