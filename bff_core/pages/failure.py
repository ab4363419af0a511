"""What a failed call of a required section means for the page's client."""

from __future__ import annotations

import json
import math
import re
from http import HTTPStatus
from typing import Any

from pydantic_core import PydanticSerializationError

from ..errors import Problem, ServiceError, UnexpectedStatus
from .plan import Plan

__all__ = ["problem_of", "undeclared"]

_FIELD = re.compile(r"\[field_name='(\w+)'")

_DETAILS = {
    404: "There is no such resource.",
    502: "A service behind this page gave no usable answer.",
    503: "A service behind this page is not available.",
    504: "A service behind this page did not answer in time.",
}


def problem_of(error: ServiceError, relay_status: frozenset[int] = frozenset()) -> Problem:
    """The problem a client gets: 404, 502, 503 or 504, or a status of ``relay_status`` with the service's own title
    and detail."""
    if isinstance(error, UnexpectedStatus) and error.status in relay_status:
        document = _document(error.body)
        return Problem(error.status, document.get("detail"), title=document.get("title"), type_=_type(document))
    headers = {}
    if error.page_status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after or 1)))
    return Problem(error.page_status, _DETAILS[error.page_status], headers=headers)


def undeclared(plan: Plan, error: PydanticSerializationError) -> Exception:
    """What to raise for an answer that is not of the type it is declared as; without the value, which pydantic's own
    message shows. What a serializer of the author's raised stays as it is.

    The cause is set here: compiled code (mypyc) drops the ``from`` of a ``raise``, and the context, with the value,
    would be logged."""
    if not str(error).startswith("Pydantic serializer warnings"):
        return error
    found = _FIELD.search(str(error))
    where = f", at '{found[1]}'" if found else ""
    wrong = TypeError(
        f"{plan.name}: the answer is not the {plan.model.__name__} that its shape or its sections declare{where}"
    )
    wrong.__cause__ = error.__cause__
    return wrong


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {key: value for key, value in document.items() if isinstance(value, str)}


def _type(document: dict[str, Any]) -> str:
    kind = document.get("type", "about:blank")
    return kind if isinstance(kind, str) else "about:blank"
