"""What a page's entry in the OpenAPI document says of its errors and parameters."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import params

from ..auth import Authenticator, schemes_of
from ..idempotency import KEY_PATTERN
from .plan import Plan

__all__ = ["finished", "key_parameter", "list_pattern", "problem_texts", "takes_key", "tidy_parameters"]

_PROBLEMS = {
    400: "The request is not usable.",
    401: "Credentials are missing or not valid.",
    403: "This is not allowed.",
    404: "There is no such resource.",
    409: "The request with this `Idempotency-Key` is still under way.",
    410: "The version has ended; `supported` lists those that there are.",
    422: "A parameter is missing or not valid.",
    429: "A limit is used up; `Retry-After` says when to come again.",
    502: "A required service gave no usable answer.",
    503: "A required service is not available.",
    504: "A required service did not answer in time.",
}
_PROBLEM: dict[str, Any] = {
    "description": "A problem document (RFC 9457).",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "instance": {"type": "string"},
                },
                "required": ["type", "title", "status"],
            }
        }
    },
}
_BODY_PROBLEMS = {
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
}


def problem_texts(plan: Plan, answers: Mapping[int, bool], *, has_body: bool) -> dict[int, str]:
    """Every error the page may answer, by status, but those that ``answers`` denies; what its sections relay of a
    service, too."""
    texts = _PROBLEMS | (_BODY_PROBLEMS if has_body else {})
    texts = {code: text for code, text in texts.items() if answers.get(code, True)}
    for section in plan.sections:
        if section.required:
            texts |= {code: texts.get(code, HTTPStatus(code).phrase) for code in section.relay_status}
    return dict(sorted(texts.items()))


def list_pattern(names: Iterable[str]) -> str:
    """What ``?include=`` takes of these names, as a regular expression."""
    name = "|".join(map(re.escape, names))
    return rf"^\s*(?:(?:{name})\s*)?(?:,\s*(?:(?:{name})\s*)?)*$"


def takes_key(declared: params.Param | params.Body, name: str) -> bool:
    """Whether it is the page's own parameter for the Idempotency-Key."""
    wire_name = declared.alias or name.replace("_", "-")
    return isinstance(declared, params.Header) and wire_name.lower() == "idempotency-key"


def key_parameter(*, required: bool) -> inspect.Parameter:
    """The header Idempotency-Key, for the document alone."""
    header = params.Header(
        alias="Idempotency-Key",
        pattern=f"^{KEY_PATTERN}$",
        description="New for each request; the same again within 24 hours is the same request, done once.",
    )
    kind: Any = Annotated[str, header] if required else Annotated[str | None, header]
    default = inspect.Parameter.empty if required else None
    return inspect.Parameter("idempotency_key", inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)


def tidy_parameters(document: dict[str, Any]) -> None:
    """Take ``null`` out of the parameters of an OpenAPI document: what is not in the body is a text or is not there."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                schema = parameter.get("schema", {})
                kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
                if len(kinds) == 1:
                    del schema["anyOf"]
                    schema.update(kinds[0])


def _describe_problems(document: dict[str, Any]) -> None:
    """Put the schema of each error under the media type that it is sent as; FastAPI puts it under its own."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for response in operation.get("responses", {}).values():
                content = response.get("content", {})
                described = content.get("application/json")
                for media_type in [key for key, value in content.items() if not value and described]:
                    content[media_type] = content.pop("application/json")


def _plain_problems(document: dict[str, Any]) -> None:
    """Say of plain routes that their errors are problem documents, too; FastAPI tells of its own."""
    schemas = document.get("components", {}).get("schemas", {})
    for operations in document["paths"].values():
        for operation in operations.values():
            responses = operation.get("responses", {})
            refused = responses.get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if refused.get("$ref", "").endswith("/HTTPValidationError"):
                responses["422"] = _PROBLEM
                responses.setdefault("default", _PROBLEM)
    text = json.dumps(document["paths"])
    for name in ("HTTPValidationError", "ValidationError"):
        if f'/schemas/{name}"' not in text:
            schemas.pop(name, None)


def finished(document: dict[str, Any], auth: Authenticator | None, scheme: str) -> dict[str, Any]:
    """FastAPI's OpenAPI document, tidied, with the gateway's security ``scheme``."""
    tidy_parameters(document)
    _plain_problems(document)
    _describe_problems(document)
    if auth is not None:
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes.update(schemes_of(auth, scheme))
    return document
