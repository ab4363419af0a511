"""Limits: what is not let in."""

from .declare import AnyLimit, ConcurrencyLimit, Quota, RateLimit
from .guard import Guard, stage_dependency
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
    "stage_dependency",
]
