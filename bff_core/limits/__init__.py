"""Limits: what is not let in."""

from .booked import booked_limits, check_plan
from .declare import AnyLimit, ConcurrencyLimit, Quota, RateLimit
from .guard import TAKEN, Guard
from .limiter import Limiter
from .shedding import Criticality, LagMonitor, Shedder
from .turns import Turns
from .usage import Usage, UsageDay

__all__ = [
    "TAKEN",
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
    "Usage",
    "UsageDay",
    "booked_limits",
    "check_plan",
]
