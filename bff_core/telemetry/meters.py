"""What is counted while requests run: plain integers in slotted objects, made into metrics when somebody asks.

Whoever does the work holds its meter (a page's endpoint, a bound operation, an endpoint of a service), so counting
needs no look-up by label and no lock: all of it happens on the event loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

__all__ = ["BOUNDS", "AttemptMeter", "Histogram", "OperationMeter", "PageMeter", "SectionMeter"]

BOUNDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of every histogram, in seconds; one more bucket holds what is above."""

CANCELLED, DONE, SKIPPED, FAILED, STALE = range(1, 6)
"""How a section ended: the states of a page's run in their order (0 is one that never began), and one for what came
from the last good values."""


GAVE_UP = "abandoned"


class Histogram:
    """Durations in buckets; ``counts`` are each bucket's own, ``sum`` is in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class AttemptMeter:
    """Attempts that were sent: how long they took, and how those ended that were not answered as they should be."""

    __slots__ = ("duration", "failures")

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.duration = Histogram()

    def succeeded(self, seconds: float) -> None:
        """One was answered."""
        duration = self.duration
        duration.counts[bisect_left(BOUNDS, seconds)] += 1
        duration.sum += seconds

    def failed(self, outcome: str, seconds: float) -> None:
        """One ended as ``outcome`` says."""
        self.failures[outcome] = self.failures.get(outcome, 0) + 1
        self.duration.observe(seconds)

    def abandoned(self) -> None:
        """One was given up: how long it would have taken nobody knows."""
        self.failures[GAVE_UP] = self.failures.get(GAVE_UP, 0) + 1

    @property
    def answered(self) -> int:
        """How many were answered: all that have a duration and did not fail."""
        return sum(self.duration.counts) + self.failures.get(GAVE_UP, 0) - sum(self.failures.values())


class OperationMeter:
    """One operation of one service. A call is what its caller sees of it, retries and hedges included.

    ``cached`` counts what the cache did. One that was answered has one attempt that was, so these count for both; all
    of them that did not revalidate were misses."""

    __slots__ = ("attempts", "batches", "cached", "failures", "lookups")

    def __init__(self) -> None:
        self.failures: dict[str, int] = {}
        self.attempts = AttemptMeter()
        self.lookups = 0
        self.batches = 0
        self.cached = {"hit": 0, "stale": 0, "revalidated": 0}

    def failed(self, outcome: str) -> None:
        """A call ended as ``outcome`` says, or was cancelled."""
        self.failures[outcome] = self.failures.get(outcome, 0) + 1


class SectionMeter:
    """One section of a page: how long it ran if it ran to its end, and how often it did not end well.

    ``outcomes`` leaves out what is ``ok``; ``failed_late`` are the failures that have a duration."""

    __slots__ = ("duration", "failed_late", "name", "outcomes", "required")

    def __init__(self, name: str, *, required: bool) -> None:
        self.name = name
        self.required = required
        self.outcomes = [0] * (STALE + 1)
        self.failed_late = 0
        self.duration = Histogram()

    @property
    def ok(self) -> int:
        """How often it ended well."""
        return sum(self.duration.counts) - self.failed_late - self.outcomes[STALE]


class PageMeter:
    """One page on its route; also what is asked for that is no page."""

    __slots__ = (
        "cached",
        "degraded",
        "duration",
        "in_flight",
        "late",
        "method",
        "name",
        "route",
        "sections",
        "shed",
        "statuses",
    )

    def __init__(self, name: str, method: str, route: str, sections: Sequence[SectionMeter] = ()) -> None:
        self.name = name
        self.method = method
        self.route = route
        self.sections = tuple(sections)
        self.statuses: dict[int, int] = {}
        self.duration = Histogram()
        self.in_flight = 0
        self.cached = 0
        self.degraded = 0
        self.late = 0
        self.shed = 0

    def ran(self, states: Sequence[int], seconds: Sequence[float], degraded: Collection[str]) -> None:
        """A run has ended with its sections in these states after so many seconds each."""
        for section, state, spent in zip(self.sections, states, seconds, strict=True):
            if state != DONE:
                section.outcomes[state] += 1
                # One that was cancelled has no end, one that failed for what it depends on no beginning.
                if state != FAILED or not spent:
                    continue
                section.failed_late += 1
            duration = section.duration
            duration.counts[bisect_left(BOUNDS, spent)] += 1
            duration.sum += spent
        if degraded:
            for section, state in zip(self.sections, states, strict=True):
                if state == DONE and section.name in degraded:
                    section.outcomes[STALE] += 1

    def refused(self) -> None:
        """A request was answered 503 before it was looked at."""
        self.statuses[503] = self.statuses.get(503, 0) + 1

    def ended(self, status: int, seconds: float, degraded: Collection[str], late: bool) -> None:
        """A request was answered with ``status``; ``late`` is after its deadline."""
        try:
            self.statuses[status] += 1
        except KeyError:
            self.statuses[status] = 1
        duration = self.duration
        duration.counts[bisect_left(BOUNDS, seconds)] += 1
        duration.sum += seconds
        if degraded:
            self.degraded += 1
        if late:
            self.late += 1
