"""What may stand in for a section whose call failed: its last good value, and under which name that is kept."""

from __future__ import annotations

from typing import Any

from ..auth.lasting import lasting
from ..context import Principal
from ..errors import ServiceError, UnexpectedStatus
from .last_good import StaleKey
from .plan import PlannedSection

__all__ = ["is_refusal", "stale_key", "stale_key_after"]

FAILURE = 500


def stale_key(page: str, section: PlannedSection, values: list[Any], principal: Principal | None) -> StaleKey:
    """Of what the section of ``page`` asks for with these values."""
    # The request as it would be sent: all that could change the answer, however arguments print themselves.
    request = section.operation.template.render(section.arguments(values)) if section.operation else ()
    # Two operations may read different members of one answer.
    what = section.operation.label if section.operation else ""
    return page + section.target + what, repr(request), lasting(principal)


def stale_key_after(
    error: BaseException, page: str, section: PlannedSection, values: list[Any], principal: Principal | None
) -> StaleKey | None:
    """The same, if it was the service that failed."""
    if not isinstance(error, ServiceError):
        return None
    try:
        return stale_key(page, section, values, principal)
    except Exception:  # noqa: BLE001 - what cannot be asked for has no key; that was what failed
        return None


def is_refusal(error: BaseException) -> bool:
    """Whether the service has answered that this is not to be had, as opposed to not now."""
    return isinstance(error, UnexpectedStatus) and error.status < FAILURE and not error.retryable
