"""What a failed call of a required section means for the page's client."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import Any

from ..clients import BoundOperation
from ..errors import Problem, ServiceError, UnexpectedStatus
from ..telemetry.redact import redact_text

__all__ = ["problem_of", "reason_of"]

LONGEST = 300

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


def reason_of(error: BaseException, bound: BoundOperation | None = None) -> dict[str, str | int]:
    """Why a section failed, for the log: ``kind``, and as far as known ``service``, ``operation``, the service's
    ``status`` and ``detail``, the error's own words. Of other errors the type alone: their words may be anybody's."""
    if not isinstance(error, ServiceError):
        return {"kind": type(error).__name__}
    reason: dict[str, str | int] = {"kind": error.kind}
    service = error.service or (bound.upstream.name if bound is not None else "")
    operation = error.operation or (bound.operation.name if bound is not None else "")
    if service:
        reason["service"] = service
    if operation:
        reason["operation"] = operation
    if isinstance(error, UnexpectedStatus):
        reason["status"] = error.status
    elif error.detail:
        reason["detail"] = redact_text(error.detail)[:LONGEST]
    return reason


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
