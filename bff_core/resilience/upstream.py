"""What the calls to one service share."""

from __future__ import annotations

from ..policy import Policy
from ..telemetry import Event, Events, OperationMeter
from ..telemetry.events import Severity
from ..wire import Wire
from .adaptive import Gradient2
from .breaker import Breaker
from .budget import RetryBudget
from .bulkhead import BulkheadQueue
from .latency import RollingPercentile

__all__ = ["CallPolicy", "Upstream"]

HEDGE_PERCENTILE = 0.95


class CallPolicy:
    """What the pipeline needs of one operation, ready to use. ``hedge_delay`` is in seconds; 0 for the percentile,
    None for no hedging."""

    __slots__ = ("hedge_delay", "idempotent", "meter", "method", "name", "path", "retry", "timeout")

    def __init__(self, name: str, method: str, policy: Policy, *, idempotent: bool, path: str = "") -> None:
        self.name = name
        self.path = path
        self.meter = OperationMeter()
        self.method = method
        self.idempotent = idempotent
        self.timeout = policy.timeout
        self.retry = policy.retry
        hedges = policy.hedge.enabled and method == "GET" and idempotent
        self.hedge_delay = (policy.hedge.delay or 0.0) if hedges else None


class Upstream:
    """One service: its wire, breaker, bulkhead and retry budget; ``waiting`` is the bulkhead's queue. ``prefix``
    stands before every path; ``origin`` is the first of its addresses."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        policy: Policy,
        *,
        prefix: str = "",
        events: Events | None = None,
        origin: str = "",
    ) -> None:
        self.name = name
        self.wire = wire
        self.policy = policy
        self.prefix = prefix
        self.origin = origin
        self.events = events or Events()
        self.breaker = Breaker(name, policy.breaker, lease=policy.timeout, changed=self._circuit_changed)
        self.budget = RetryBudget(policy.retry.budget, policy.retry.reserve)
        self.adaptive = Gradient2(policy.adaptive) if policy.adaptive.enabled else None
        self.latency = RollingPercentile(HEDGE_PERCENTILE)
        self.waiting = BulkheadQueue(policy.bulkhead_queue, self.advance)

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return self.adaptive.limit if self.adaptive is not None else self.policy.bulkhead

    def advance(self) -> None:
        """A call has ended: those that wait for that go on, in the order they came."""
        while self.waiting and self.wire.in_flight < self.limit:
            self.waiting.next().go()

    def emit(
        self, name: str, severity: Severity, strategy: str, operation: str, attempt: int = 0, detail: str = ""
    ) -> None:
        """Tell of a decision about a call."""
        self.events.emit(Event(name, severity, self.name, strategy, operation, attempt, detail=detail))

    def _circuit_changed(self, state: str) -> None:
        name = {"open": "OnCircuitOpened", "closed": "OnCircuitClosed", "half-open": "OnCircuitHalfOpened"}[state]
        severity: Severity = "error" if state == "open" else "information"
        self.events.emit(Event(name, severity, self.name, "CircuitBreaker", detail=state))
