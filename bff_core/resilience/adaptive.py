"""An adaptive concurrency limit: Gradient2 (Netflix concurrency-limits, ``Gradient2Limit``)."""

from __future__ import annotations

import math

from ..policy import AdaptivePolicy

__all__ = ["Gradient2"]

LONG_WINDOW = 600
SMOOTHING = 0.2


class Gradient2:
    """``limit`` follows the ratio of the long-term latency to the latest one. Pure: fed with samples only."""

    __slots__ = ("_estimate", "_long", "_policy", "limit")

    def __init__(self, policy: AdaptivePolicy) -> None:
        self._policy = policy
        self._estimate = float(policy.initial)
        self._long = 0.0
        self.limit = policy.initial

    def sample(self, latency: float, in_flight: int) -> None:
        """A call took ``latency`` seconds, with ``in_flight`` calls under way when it ended."""
        if latency <= 0:
            return
        policy = self._policy
        factor = 2 / (LONG_WINDOW + 1)
        self._long = latency if not self._long else self._long + (latency - self._long) * factor
        if self._long / latency > 2:  # noqa: PLR2004 - the long-term value recovers from an outage at this ratio
            self._long *= 0.95
        if in_flight < self._estimate / 2:
            # The limit is not what holds the calls back, so they say nothing about it.
            return
        gradient = max(0.5, min(1.0, policy.tolerance * self._long / latency))
        target = self._estimate * gradient + math.sqrt(self._estimate)
        smoothed = self._estimate * (1 - SMOOTHING) + target * SMOOTHING
        self._estimate = max(float(policy.minimum), min(float(policy.maximum), smoothed))
        self.limit = int(self._estimate)
