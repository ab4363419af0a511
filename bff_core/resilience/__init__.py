"""Resilience: one file per strategy, and the pipeline that stacks them."""

from .breaker import Breaker
from .budget import RetryBudget
from .pipeline import Call, Upstream
from .policy import BreakerPolicy, Policy, RetryPolicy

__all__ = ["Breaker", "BreakerPolicy", "Call", "Policy", "RetryBudget", "RetryPolicy", "Upstream"]
