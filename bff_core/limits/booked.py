"""What single tenants have booked: a plan, and limits of their own instead of the plan's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from ..context import PLAN_LIMITS, Principal
from ..errors import DeclarationError
from .declare import AnyLimit
from .keys import plan_of

__all__ = ["booked_limits", "check_plan", "own_values"]

log = structlog.get_logger("bff.limits")
ANY_LEASE = 1_000_000


def check_plan(limits: Mapping[str, AnyLimit], plan: str | None, own: Mapping[str, Any] | None) -> None:
    """Raise ``DeclarationError`` when none of ``limits`` (by name) has a value for ``plan``, or ``own`` has values that
    are none of theirs."""
    plans = {name for limit in limits.values() for name in limit.plans}
    if plan is not None and plan not in plans:
        raise DeclarationError(f"there is no plan '{plan}'; there is: {', '.join(sorted(plans)) or 'none'}")
    for name, value in (own or {}).items():
        if name not in limits:
            raise DeclarationError(f"there is no limit '{name}'; there is: {', '.join(limits) or 'none'}")
        _check(limits[name], value)


def booked_limits(limits: Iterable[AnyLimit], principal: Principal) -> dict[str, Any]:
    """The value that each of ``limits`` has for ``principal``, by name; None where there is no limit."""
    known = {limit.name: limit for limit in limits}
    own = principal.claims.get(PLAN_LIMITS)
    plan = plan_of(principal) or ""
    values = {name: limit.plans.get(plan, limit.default) for name, limit in known.items()}
    return {**values, **(own_values(known, own) if isinstance(own, str) else {})}


def own_values(limits: Mapping[str, AnyLimit], text: str) -> dict[str, Any]:
    """The values for ``limits`` in a principal's claim ``plan_limits``; what cannot be used is left out, and logged."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        log.warning("limits.not_readable")
        return {}
    found = {}
    for name in given.keys() & limits.keys():
        try:
            _check(limits[name], given[name])
        except (DeclarationError, RecursionError) as error:
            log.warning("limits.not_usable", error=str(error))
        else:
            found[name] = _value(given[name])
    return found


def _check(limit: AnyLimit, value: Any) -> None:
    try:
        limit.value(_value(value), ANY_LEASE)
    except (TypeError, ValueError):
        raise DeclarationError(f"limit '{limit.name}': {value!r} is no value of it") from None


def _value(value: Any) -> Any:
    """JSON has no tuples, which rates with their burst are."""
    return tuple(value) if isinstance(value, list) else value
