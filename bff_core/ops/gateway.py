"""What the operations port sees of a gateway."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ..balance import BalancedWire
from ..clients import BoundOperation, ResponseCache, ServiceClient
from ..limits import AnyLimit, Shedder
from ..pages import PageRoute
from ..resilience import Upstream
from ..telemetry import AttemptMeter, Histogram, PageMeter, RecentEvents
from ..telemetry.meters import GAVE_UP

__all__ = ["EndpointView", "Gateway"]

DENIED = "OnRateLimiterRejected"


@dataclass(frozen=True, slots=True)
class EndpointView:
    """One address of a service; ``able`` says whether it is asked at all."""

    authority: str
    able: bool
    in_flight: int
    attempts: AttemptMeter


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway. ``other`` counts what is asked for that is no page, ``lag`` the event loop's."""

    name: str
    version: str
    pages: Callable[[], Collection[PageRoute]]
    proxies: Callable[[], Iterable[PageMeter]]
    clients: Mapping[type[ServiceClient], ServiceClient]
    upstreams: Mapping[str, Upstream]
    shedder: Shedder
    limits: Mapping[str, AnyLimit]
    cache: ResponseCache
    events: RecentEvents
    other: PageMeter
    lag: Histogram
    ready: Callable[[], bool]

    def page_meters(self) -> list[PageMeter]:
        """Those of all pages and proxies, and of what is neither. A route that another one hides is never asked for."""
        meters = [*(page.meter for page in self.pages()), *self.proxies()]
        found = {(meter.method, meter.route): meter for meter in reversed(meters)}
        return [*reversed(found.values()), self.other]

    def denied(self, limit: str) -> int:
        """How many requests the limit of this name has denied."""
        counts = self.events.counts.items()
        return sum(count for (event, _, name), count in counts if event == DENIED and name == limit)

    def operations(self, service: str) -> list[BoundOperation]:
        """Every operation of ``service``."""
        clients = [client for kind, client in self.clients.items() if kind.service == service]
        return [bound for client in clients for bound in client.bound.values()]

    def attempts(self, service: str) -> AttemptMeter:
        """All attempts at ``service`` together."""
        total = AttemptMeter()
        for bound in self.operations(service):
            meter = bound.policy.meter.attempts
            for outcome, count in meter.failures.items():
                total.failures[outcome] = total.failures.get(outcome, 0) + count
            add(total.duration, meter.duration)
        return total

    def endpoints(self, upstream: Upstream, now: float) -> list[EndpointView]:
        """The addresses of a service. One that has a single address has no meter of its own for it."""
        wire = upstream.wire
        if isinstance(wire, BalancedWire):
            return [
                EndpointView(
                    _authority(endpoint.origin), endpoint.available(now), endpoint.in_flight, endpoint.attempts
                )
                for endpoint in wire.balancer.endpoints
            ]
        return [EndpointView(_authority(upstream.origin), True, wire.in_flight, self.attempts(upstream.name))]


def _authority(origin: str) -> str:
    return origin.partition("://")[2]


def add(total: Histogram, other: Histogram) -> None:
    """Take ``other`` into ``total``."""
    total.counts = [mine + its for mine, its in zip(total.counts, other.counts, strict=True)]
    total.sum += other.sum


def blamed(attempts: AttemptMeter) -> int:
    """Attempts that say that who was asked is not well: no answer, a wrong one, or a 5xx."""
    return sum(count for outcome, count in attempts.failures.items() if outcome not in (GAVE_UP, "3xx", "4xx"))
