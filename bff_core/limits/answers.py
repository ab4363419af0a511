"""What a client is told of its limits: draft-ietf-httpapi-ratelimit-headers, in this one place because drafts move."""

from __future__ import annotations

from ..errors import Problem
from .rules import Decision

__all__ = ["limit_prefix", "limit_value", "policy_item", "quota_exceeded"]

TYPE = "https://iana.org/assignments/http-problem-types#quota-exceeded"
TITLE = "Request cannot be satisfied as assigned quota has been exceeded"


def policy_item(name: str, quota: int, *, window: int | None = None, unit: str | None = None) -> bytes:
    """One item of ``RateLimit-Policy``: ``quota`` of ``unit`` (default: requests) in ``window`` seconds."""
    item = f'"{name}";q={quota}'
    if unit is not None:
        item += f';qu="{unit}"'
    return (item if window is None else f"{item};w={window}").encode()


def limit_prefix(name: str) -> bytes:
    """The constant beginning of ``limit_value``."""
    return f'"{name}";r='.encode()


def limit_value(prefix: bytes, decision: Decision) -> bytes:
    """``RateLimit``: what remains of the strictest limit, and for how many seconds."""
    if decision.reset is None:
        return b"%b%d" % (prefix, decision.remaining)
    return b"%b%d;t=%d" % (prefix, decision.remaining, decision.reset)


def quota_exceeded(decision: Decision) -> Problem:
    """The 429 problem of a refusal."""
    return Problem(
        429,
        f"The limit '{decision.policy}' is used up; try again in {decision.retry_after} s.",
        type_=TYPE,
        title=TITLE,
        headers={"retry-after": str(decision.retry_after)},
        **{"violated-policies": list(decision.violated)},
    )
