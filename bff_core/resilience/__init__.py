"""Resilience: one file per strategy, and the pipeline that stacks them."""

from .attempt import Request
from .breaker import Breaker
from .budget import RetryBudget
from .layers import Layer, Resolved, resolve
from .mirror import CircuitMirror
from .pipeline import Call
from .streamed import open_stream, report_broken
from .upstream import CallPolicy, Upstream

__all__ = [
    "Breaker",
    "Call",
    "CallPolicy",
    "CircuitMirror",
    "Layer",
    "Request",
    "Resolved",
    "RetryBudget",
    "Upstream",
    "open_stream",
    "report_broken",
    "resolve",
]
