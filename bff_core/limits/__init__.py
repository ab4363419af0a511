"""Limits: what is not let in."""

from .booked import check_plan
from .declare import AnyLimit, ConcurrencyLimit, Quota, RateLimit
from .guard import Guard
from .limiter import Limiter
from .shedding import Criticality, LagMonitor, Shedder

__all__ = [
    "AnyLimit",
    "ConcurrencyLimit",
    "Criticality",
    "Guard",
    "LagMonitor",
    "Limiter",
    "Quota",
    "RateLimit",
    "Shedder",
    "check_plan",
]
