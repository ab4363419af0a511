"""Every metric of a gateway: its name, its kind, its labels, and where its values are found when it is scraped.

Labels are of what is declared or configured (routes, sections, services, operations, addresses), never of what comes
with a request.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..telemetry import Histogram, OperationMeter, PageMeter, SectionMeter
from ..telemetry.meters import CANCELLED, FAILED, GAVE_UP, SKIPPED, STALE
from .gateway import Gateway, add, blamed

__all__ = ["METRICS", "Metric", "Sample", "cache_outcomes", "collect", "section_outcomes"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What Prometheus is told of a metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


Sample = tuple[str, tuple[str, ...], float | Histogram]
"""The name of a metric, the values of its labels, its value."""

PAGE = ("method", "route")
OPERATION = ("service", "operation")
ENDPOINT = ("service", "endpoint")
STATES = ("closed", "half-open", "open")

METRICS = {
    metric.name: metric
    for metric in (
        Metric("bff_gateway_info", "gauge", "The gateway and the framework's version; 1.", ("gateway", "version")),
        Metric("bff_requests_total", "counter", "Requests answered, by status.", (*PAGE, "status")),
        Metric("bff_request_duration_seconds", "histogram", "From a request's head to its answer's last byte.", PAGE),
        Metric("bff_requests_in_flight", "gauge", "Requests that are being answered.", PAGE),
        Metric("bff_requests_degraded_total", "counter", "Pages answered with a section missing or old.", PAGE),
        Metric("bff_requests_deadline_exceeded_total", "counter", "Requests that took their whole deadline.", PAGE),
        Metric("bff_requests_shed_total", "counter", "Requests refused because the gateway was overloaded.", PAGE),
        Metric("bff_requests_cached_total", "counter", "Pages answered whole from the cache.", PAGE),
        Metric("bff_sections_total", "counter", "Sections that ended, by outcome.", (*PAGE, "section", "outcome")),
        Metric("bff_section_duration_seconds", "histogram", "Sections that ran to their end.", (*PAGE, "section")),
        Metric("bff_service_calls_total", "counter", "Calls, retries included, by outcome.", (*OPERATION, "outcome")),
        Metric("bff_service_attempts_total", "counter", "Requests sent, by outcome.", (*OPERATION, "outcome")),
        Metric("bff_service_attempt_duration_seconds", "histogram", "Requests sent to services.", OPERATION),
        Metric("bff_service_in_flight", "gauge", "Requests to the service under way.", ("service",)),
        Metric("bff_service_in_flight_limit", "gauge", "How many the bulkhead allows now.", ("service",)),
        Metric("bff_service_waiting", "gauge", "Calls that wait for the bulkhead.", ("service",)),
        Metric("bff_service_retry_budget", "gauge", "Extra attempts that the budget would pay for now.", ("service",)),
        Metric("bff_circuit_state", "gauge", "Whether the circuit is in this state.", ("service", "state")),
        Metric("bff_events_total", "counter", "Decisions of the resilience strategies.", (*OPERATION, "event")),
        Metric("bff_coalesced_calls_total", "counter", "Calls that joined an identical one under way.", ("service",)),
        Metric("bff_batched_lookups_total", "counter", "Look-ups that went into batches.", OPERATION),
        Metric("bff_batch_calls_total", "counter", "Calls made for batches.", OPERATION),
        Metric("bff_cache_requests_total", "counter", "GETs that the cache was asked about.", (*OPERATION, "outcome")),
        Metric("bff_cache_bytes", "gauge", "What the response cache holds in memory."),
        Metric("bff_cache_entries", "gauge", "Responses that the cache holds in memory."),
        Metric("bff_endpoint_attempts_total", "counter", "Requests sent to an address.", (*ENDPOINT, "outcome")),
        Metric("bff_endpoint_attempt_duration_seconds", "histogram", "Requests sent to an address.", ENDPOINT),
        Metric("bff_endpoint_in_flight", "gauge", "Requests to an address under way.", ENDPOINT),
        Metric("bff_endpoint_up", "gauge", "Whether the address is asked at all, not ejected or unhealthy.", ENDPOINT),
        Metric("bff_limit_denied_total", "counter", "Requests that a limit denied.", ("limit",)),
        Metric("bff_shed_level", "gauge", "Shedding: 0 none, 1 all sheddable, 2 all default pages, 2.9 nearly all."),
        Metric("bff_event_loop_lag_seconds", "histogram", "How late the event loop was, fifty times a second."),
    )
}  # fmt: skip


def collect(gateway: Gateway) -> Iterator[Sample]:
    """All samples of this moment. Each pair of name and labels comes once."""
    now = time.monotonic()
    yield "bff_gateway_info", (gateway.name, gateway.version), 1.0
    for page in gateway.page_meters():
        yield from _page(page, of_route=page is not gateway.other)
    for name in gateway.upstreams:
        yield from _service(gateway, name, now)
    # Events of pages are shed and denied requests, which are counted by route and by limit.
    for (event, service, operation), count in gateway.events.counts.items():
        if service in gateway.upstreams:
            yield "bff_events_total", (service, operation, event), count
    for limit in gateway.limits:
        yield "bff_limit_denied_total", (limit,), gateway.denied(limit)
    yield "bff_cache_bytes", (), gateway.cache.memory.bytes
    yield "bff_cache_entries", (), len(gateway.cache.memory)
    yield "bff_shed_level", (), gateway.shedder.level
    yield "bff_event_loop_lag_seconds", (), gateway.lag


def _page(page: PageMeter, *, of_route: bool) -> Iterator[Sample]:
    labels = (page.method, page.route)
    for status, count in page.statuses.items():
        yield "bff_requests_total", (*labels, str(status)), count
    yield "bff_request_duration_seconds", labels, page.duration
    yield "bff_requests_deadline_exceeded_total", labels, page.late
    if not of_route:
        return
    yield "bff_requests_in_flight", labels, page.in_flight
    yield "bff_requests_degraded_total", labels, page.degraded
    yield "bff_requests_shed_total", labels, page.shed
    yield "bff_requests_cached_total", labels, page.cached
    for section in page.sections:
        for outcome, count in section_outcomes(section).items():
            yield "bff_sections_total", (*labels, section.name, outcome), count
        yield "bff_section_duration_seconds", (*labels, section.name), section.duration


def section_outcomes(section: SectionMeter) -> dict[str, int]:
    """How often a section ended how. What failed shows its fallback, unless the page cannot be without it."""
    outcomes = section.outcomes
    return {
        "ok": section.ok,
        "stale": outcomes[STALE],
        "failed" if section.required else "fallback": outcomes[FAILED],
        "skipped": outcomes[SKIPPED],
        "cancelled": outcomes[CANCELLED],
    }


def _service(gateway: Gateway, name: str, now: float) -> Iterator[Sample]:
    upstream = gateway.upstreams[name]
    yield "bff_service_in_flight", (name,), upstream.wire.in_flight
    yield "bff_service_in_flight_limit", (name,), upstream.limit
    yield "bff_service_waiting", (name,), len(upstream.waiting)
    yield "bff_service_retry_budget", (name,), upstream.budget.left(now)
    for state in STATES:
        yield "bff_circuit_state", (name, state), float(state == upstream.breaker.state)
    bound = gateway.operations(name)
    yield "bff_coalesced_calls_total", (name,), sum({id(each.flights): each.flights.joined for each in bound}.values())
    meters: dict[str, list[OperationMeter]] = {}
    for each in bound:
        meters.setdefault(each.operation.name, []).append(each.policy.meter)
    for operation, same in meters.items():
        yield from _operation((name, operation), _together(same))
        if any(each.cache is not None for each in bound if each.operation.name == operation):
            for outcome, count in cache_outcomes(same).items():
                yield "bff_cache_requests_total", (name, operation, outcome), count
    for endpoint in gateway.endpoints(upstream, now):
        labels = (name, endpoint.authority)
        attempts, bad = endpoint.attempts, blamed(endpoint.attempts)
        gave_up = attempts.failures.get(GAVE_UP, 0)
        answered = attempts.answered + sum(attempts.failures.values()) - bad - gave_up
        for outcome, count in (("ok", answered), ("error", bad), (GAVE_UP, gave_up)):
            yield "bff_endpoint_attempts_total", (*labels, outcome), count
        yield "bff_endpoint_attempt_duration_seconds", labels, attempts.duration
        yield "bff_endpoint_in_flight", labels, endpoint.in_flight
        yield "bff_endpoint_up", labels, float(endpoint.able)


def cache_outcomes(meters: Iterable[OperationMeter]) -> dict[str, int]:
    """What the cache was asked for and did. A call that was answered, but not with a 304, was a miss."""
    total = {"hit": 0, "stale": 0, "revalidated": 0, "miss": 0}
    for meter in meters:
        for outcome, count in meter.cached.items():
            total[outcome] += count
        total["miss"] += meter.attempts.answered - meter.cached["revalidated"]
    return total


def _operation(labels: tuple[str, str], meter: OperationMeter) -> Iterator[Sample]:
    for name, failures in (
        ("bff_service_calls_total", meter.failures),
        ("bff_service_attempts_total", meter.attempts.failures),
    ):
        yield name, (*labels, "ok"), meter.attempts.answered
        for outcome, count in failures.items():
            yield name, (*labels, outcome), count
    yield "bff_service_attempt_duration_seconds", labels, meter.attempts.duration
    if meter.lookups:
        yield "bff_batched_lookups_total", labels, meter.lookups
        yield "bff_batch_calls_total", labels, meter.batches


def _together(meters: list[OperationMeter]) -> OperationMeter:
    """Several clients of one service may have an operation of the same name."""
    if len(meters) == 1:
        return meters[0]
    total = OperationMeter()
    for meter in meters:
        total.lookups += meter.lookups
        total.batches += meter.batches
        add(total.attempts.duration, meter.attempts.duration)
        for mine, its in ((total.failures, meter.failures), (total.attempts.failures, meter.attempts.failures)):
            for outcome, count in its.items():
                mine[outcome] = mine.get(outcome, 0) + count
    return total
