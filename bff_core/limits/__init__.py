"""Limits: what is not let in."""

from .declare import AnyLimit, ConcurrencyLimit, Quota, RateLimit
from .guard import Guard
from .limiter import Limiter
from .shedding import Criticality, LagMonitor, Shedder
from .turns import Turns

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
    "Turns",
]
