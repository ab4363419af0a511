"""Retry budget: how many extra attempts a service may be asked for, as a share of its calls (Finagle, RetryBudget)."""

from __future__ import annotations

from .window import RollingCount

__all__ = ["RetryBudget"]

TTL = 10.0


class RetryBudget:
    """Over any ten seconds, extra attempts are at most ``ratio`` of the calls plus ``reserve`` a second.

    Pure: ``now`` is an instant of a monotonic clock.
    """

    __slots__ = ("_calls", "_extra", "_ratio", "_reserve")

    def __init__(self, ratio: float, reserve: float) -> None:
        self._ratio = ratio
        self._reserve = reserve * TTL
        self._calls = RollingCount(TTL)
        self._extra = RollingCount(TTL)

    def left(self, now: float) -> float:
        """How many extra attempts it would pay for now."""
        return max(0.0, self._ratio * self._calls.total(now) + self._reserve - self._extra.total(now))

    def deposit(self, now: float) -> None:
        """One call was made."""
        self._calls.add(now)

    def withdraw(self, now: float) -> bool:
        """Take one extra attempt; false when none is left."""
        if self._extra.total(now) + 1 > self._ratio * self._calls.total(now) + self._reserve:
            return False
        self._extra.add(now)
        return True
