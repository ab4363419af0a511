"""What a page's entry in the OpenAPI document says of its errors and parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from .plan import Plan

__all__ = ["list_pattern", "problem_texts", "tidy_parameters"]

_PROBLEMS = {
    400: "The request is not usable.",
    401: "Credentials are missing or not valid.",
    403: "This is not allowed.",
    404: "There is no such resource.",
    422: "A parameter is missing or not valid.",
    429: "A limit is used up; `Retry-After` says when to come again.",
    502: "A required service gave no usable answer.",
    503: "A required service is not available.",
    504: "A required service did not answer in time.",
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
    """What ``Selector`` takes for these names, as a regular expression."""
    name = "|".join(map(re.escape, names))
    return rf"^\s*(?:(?:{name})\s*)?(?:,\s*(?:(?:{name})\s*)?)*$"


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
