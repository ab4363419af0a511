"""Policies: value objects that say how calls to a service behave. Times are seconds, rates are fractions."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["AdaptivePolicy", "BreakerPolicy", "HealthPolicy", "HedgePolicy", "OutlierPolicy", "Policy", "RetryPolicy"]

Seconds = Annotated[float, Field(gt=0, le=3600)]
Rate = Annotated[float, Field(gt=0, le=1)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryPolicy(_Value):
    """Attempts and the wait between them: full jitter over ``min(cap, base * 2**n)`` (AWS, "Exponential Backoff And
    Jitter"). Only idempotent operations are retried, and at most ``budget`` of the recent calls plus ``reserve`` per
    second (Finagle's retry budget)."""

    attempts: Annotated[int, Field(ge=1, le=3)] = 2
    base: Seconds = 0.05
    cap: Seconds = 1.0
    budget: Annotated[float, Field(ge=0, le=1)] = 0.2
    reserve: Annotated[float, Field(ge=0)] = 10.0


class BreakerPolicy(_Value):
    """When the circuit opens, and for how long.

    Over the last ``window`` seconds and at least ``minimum_calls``: at ``failure_rate`` failures, or at ``slow_rate``
    calls slower than ``slow_after`` (default: the attempt timeout). Open for ``open_for`` doubled with each opening in
    a row, up to ``open_cap``, give or take ``jitter``; then ``half_open_calls`` probes decide.
    """

    window: Seconds = 10.0
    minimum_calls: Annotated[int, Field(ge=1)] = 20
    failure_rate: Rate = 0.5
    slow_rate: Rate = 0.8
    slow_after: Seconds | None = None
    open_for: Seconds = 5.0
    open_cap: Seconds = 60.0
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    half_open_calls: Annotated[int, Field(ge=1)] = 3


class HedgePolicy(_Value):
    """A second attempt of a GET that takes long, sent beside the first; whichever answers first counts (Dean and
    Barroso, "The Tail at Scale"). Sent after ``delay``, by default the 95th percentile of the service's latency, and
    paid from the retry budget."""

    enabled: bool = False
    delay: Seconds | None = None


class AdaptivePolicy(_Value):
    """A bulkhead that finds its own size: Gradient2 of Netflix' concurrency-limits, between ``minimum`` and
    ``maximum``. ``tolerance`` is how much latency may grow before the limit shrinks."""

    enabled: bool = False
    initial: Annotated[int, Field(ge=1)] = 20
    minimum: Annotated[int, Field(ge=1)] = 20
    maximum: Annotated[int, Field(ge=1)] = 200
    tolerance: Annotated[float, Field(ge=1)] = 1.5


class OutlierPolicy(_Value):
    """An endpoint that fails ``consecutive`` times in a row is asked no more for ``base`` seconds, times the ejections
    in a row, up to ``cap``; at most the fraction ``most`` of the endpoints at one time (Envoy, "Outlier detection")."""

    consecutive: Annotated[int, Field(ge=1)] = 5
    base: Seconds = 30.0
    cap: Seconds = 300.0
    most: Annotated[float, Field(ge=0, le=1)] = 0.5


class HealthPolicy(_Value):
    """Active checks: ``GET path`` every ``interval`` seconds; so many of the other kind in a row change the verdict.
    None for ``path``: none."""

    path: Annotated[str, Field(pattern="^/")] | None = None
    interval: Seconds = 5.0
    timeout: Seconds = 1.0
    unhealthy: Annotated[int, Field(ge=1)] = 3
    healthy: Annotated[int, Field(ge=1)] = 2


class Policy(_Value):
    """How one service is called. ``timeout`` bounds one attempt, ``connect_timeout`` the making of a connection
    within it, ``bulkhead`` the calls in flight and ``bulkhead_queue`` those that wait for one to end, ``max_body``
    an answer's size in bytes; ``cache`` says whether answers to GETs are used again as far as the service allows
    it; a new endpoint gets its full share after ``slow_start``.

    A policy that says only some of it leaves the rest to the level above: gateway, service, operation.
    """

    timeout: Seconds = 1.0
    connect_timeout: Seconds = 0.5
    bulkhead: Annotated[int, Field(ge=1)] = 256
    bulkhead_queue: Annotated[int, Field(ge=0)] = 1024
    max_body: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024
    retry: RetryPolicy = RetryPolicy()
    breaker: BreakerPolicy = BreakerPolicy()
    hedge: HedgePolicy = HedgePolicy()
    adaptive: AdaptivePolicy = AdaptivePolicy()
    outlier: OutlierPolicy = OutlierPolicy()
    health: HealthPolicy = HealthPolicy()
    slow_start: Annotated[float, Field(ge=0, le=3600)] = 10.0
    cache: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "connect_timeout" in self.model_fields_set and self.connect_timeout > self.timeout:
            raise ValueError("connect_timeout is longer than the timeout of the whole attempt")
        if self.breaker.open_for > self.breaker.open_cap:
            raise ValueError("breaker.open_for is longer than breaker.open_cap")
        if not self.adaptive.minimum <= self.adaptive.initial <= self.adaptive.maximum:
            raise ValueError("adaptive.initial is not between adaptive.minimum and adaptive.maximum")
        return self
