"""Security events: one structured log line for everybody who is not let in, or not let do something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from ..errors import Refused

if TYPE_CHECKING:
    from ..context import RequestContext  # which has meters and spans of this package

__all__ = ["log_refused"]

log = structlog.get_logger("bff.security")
AUTHENTICATION = 401


def log_refused(refused: Refused, scope: Mapping[str, Any], context: RequestContext) -> None:
    """Say who was refused what and why, never with which credentials. ``scope`` is the request's (ASGI); the
    client is whom the trusted proxies say."""
    principal = context.principal
    log.warning(
        "security",
        kind="authentication_failed" if refused.status == AUTHENTICATION else "authorization_denied",
        reason=refused.reason,
        method=scope["method"],
        path=scope["path"],
        route=context.route,
        client=context.client_ip,
        subject=principal.subject if principal is not None else None,
        tenant=principal.tenant if principal is not None else None,
        request_id=context.request_id,
        trace_id=context.trace_id,
    )
