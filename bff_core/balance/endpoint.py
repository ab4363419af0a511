"""One endpoint of a service: how loaded it is, and whether it may be asked. Pure: ``now`` is a monotonic instant."""

from __future__ import annotations

import math

from ..policy import OutlierPolicy
from ..telemetry import AttemptMeter
from ..wire import Wire

__all__ = ["Endpoint"]

DECAY = 10.0
PENALTY = 1.0
FLOOR = 1e-4
FIRST_SHARE = 0.1
SUSPICION = 1.0


class Endpoint:
    """``load`` is latency times calls in flight; the latency is a peak EWMA (Finagle): up at once, down in ten seconds.

    A newcomer, and one that comes back, has a tenth of its weight and gets all of it over ``slow_start`` seconds.
    """

    __slots__ = (
        "_ejections", "_failures", "_latency", "_measured", "_policy", "_since", "_slow_start", "_weight",
        "attempts", "ejected_until", "healthy", "in_flight", "origin", "wire",
    )  # fmt: skip

    def __init__(
        self,
        origin: str,
        wire: Wire,
        *,
        weight: float = 1.0,
        policy: OutlierPolicy | None = None,
        slow_start: float = 0.0,
        now: float = -math.inf,
    ) -> None:
        self.origin = origin
        self.wire = wire
        self.attempts = AttemptMeter()
        self.in_flight = 0
        self.healthy = True
        self.ejected_until = -math.inf
        self._weight = weight
        self._policy = policy or OutlierPolicy()
        self._slow_start = slow_start
        self._since = now
        self._latency = 0.0
        self._measured = -math.inf
        self._failures = 0
        self._ejections = 0

    def weight(self, now: float) -> float:
        """Its share of the calls, in relation to the others'."""
        age = now - self._since
        if self._slow_start <= 0 or age >= self._slow_start:
            return self._weight
        return self._weight * max(FIRST_SHARE, age / self._slow_start)

    def load(self, now: float) -> float:
        """How much it has to do, in relation to the others."""
        return (self._estimate(now) + FLOOR) * (self.in_flight + 1)

    def available(self, now: float) -> bool:
        """Whether it should be asked, if any is."""
        return self.healthy and now >= self.ejected_until

    def suspect(self, now: float) -> bool:
        """Whether its last call has just failed, so that a further attempt had better go to another."""
        return self._failures > 0 and now - self._measured < SUSPICION

    def started(self) -> None:
        """A call was sent to it."""
        self.in_flight += 1

    def dropped(self) -> None:
        """A call ended without saying anything about it."""
        self.attempts.abandoned()
        self.in_flight -= 1

    def succeeded(self, now: float, latency: float) -> None:
        """A call ended well, after ``latency`` seconds."""
        self.attempts.succeeded(latency)
        self.in_flight -= 1
        self._observe(now, latency)
        self._failures = 0
        if now - self.ejected_until > self._policy.cap:
            self._ejections = 0

    def failed(self, now: float, latency: float) -> bool:
        """A call failed: no connection, no answer, or a 5xx. True when that is one too many in a row."""
        self.attempts.failed("error", latency)
        self.in_flight -= 1
        self._observe(now, max(latency, PENALTY))
        self._failures += 1
        return self._failures >= self._policy.consecutive

    def eject(self, now: float) -> None:
        """Ask it no more for a time that grows with each ejection in a row."""
        self._ejections += 1
        self._failures = 0
        self.ejected_until = now + min(self._policy.cap, self._policy.base * self._ejections)
        self._since = self.ejected_until

    def checked(self, now: float, *, healthy: bool) -> None:
        """An active check found it healthy or not."""
        if healthy and not self.healthy:
            self._since = now
        self.healthy = healthy

    def _estimate(self, now: float) -> float:
        return self._latency * math.exp(-max(0.0, now - self._measured) / DECAY) if self._latency else 0.0

    def _observe(self, now: float, latency: float) -> None:
        known = self._estimate(now)
        weight = math.exp(-max(0.0, now - self._measured) / DECAY) if self._latency else 0.0
        self._latency = latency if latency > known else known * weight + latency * (1 - weight)
        self._measured = now
