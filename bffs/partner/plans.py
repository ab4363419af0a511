"""What partners may ask, by plan."""

from __future__ import annotations

from bff_core import Quota, RateLimit

__all__ = ["LIMITS"]

LIMITS = (
    # Before authentication: who guesses keys uses this up.
    RateLimit("address", "200/second", burst=1000, key="client_ip"),
    RateLimit("throttle", "10/second", burst=20, key="tenant", plans={"gold": ("100/second", 200), "internal": None}),
    Quota(
        "month",
        10_000,
        per="month",
        key="tenant",
        plans={"gold": 1_000_000, "internal": None},
        on_store_failure="deny",
    ),
)
