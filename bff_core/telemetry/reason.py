"""Why something that a request needed failed, for its line in the log."""

from __future__ import annotations

from ..errors import ServiceError, UnexpectedStatus
from .redact import redact_text

__all__ = ["reason_of"]

LONGEST = 300


def reason_of(error: BaseException, service: str = "", operation: str = "") -> dict[str, str | int]:
    """``kind``, and as far as known ``service``, ``operation``, the service's ``status`` and ``detail``, its own
    words; ``service`` and ``operation`` are what was asked, should the error not say. Of other errors the type alone:
    their words may be anybody's."""
    if not isinstance(error, ServiceError):
        return {"kind": type(error).__name__}
    reason: dict[str, str | int] = {"kind": error.kind}
    if error.service or service:
        reason["service"] = error.service or service
    if error.operation or operation:
        reason["operation"] = error.operation or operation
    if isinstance(error, UnexpectedStatus):
        reason["status"] = error.status
    elif error.detail:
        reason["detail"] = redact_text(error.detail)[:LONGEST]
    return reason
