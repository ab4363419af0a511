"""What the console shows, as data. Times are milliseconds, shares are of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..limits import AnyLimit, Quota, RateLimit
from ..pages import PageRoute
from ..pages.graph import svg
from ..pages.plan import PlannedSection
from ..resilience import Upstream
from ..telemetry.recent import Entry
from .gateway import EndpointView, Gateway
from .history import Series, Window
from .metrics import cache_outcomes

__all__ = ["Key", "services", "snapshot"]

Key = tuple[str, ...]
MIXED, BAD = 0.01, 0.5
SHOWN = 60


def snapshot(gateway: Gateway, series: Mapping[Key, Series], now: float, *, past: bool) -> dict[str, Any]:
    """The gateway at ``now`` (a monotonic instant). With its ``past`` and what never changes, or without."""
    cacheable = [
        bound.policy.meter
        for client in gateway.clients.values()
        for bound in client.bound.values()
        if bound.cache is not None
    ]
    return {
        "gateway": gateway.name,
        "version": gateway.version,
        "process": os.getpid(),
        "ready": gateway.ready(),
        "totals": _window(series[("all",)])
        | {
            "degraded": _round(series["all", "degraded"].window().bad, 4),
            "in_flight": sum(page.meter.in_flight for page in gateway.pages()),
            "lag": _ms(series[("lag",)].window().p99),
            "shed_level": round(gateway.shedder.level, 2),
        },
        "cache": {
            "bytes": gateway.cache.memory.bytes,
            "entries": len(gateway.cache.memory),
            "outcomes": cache_outcomes(cacheable),
        },
        "services": [_service(gateway, upstream, series, now, past=past) for upstream in gateway.upstreams.values()],
        "pages": [_page(page, series, past=past) for page in gateway.pages()],
        "limits": [
            {"name": name, "rule": _rule(limit), "denied": gateway.denied(name)}
            for name, limit in gateway.limits.items()
        ],
        "events": [_event(entry) for entry in list(gateway.events.entries)[: -SHOWN - 1 : -1]],
    }


def services(gateway: Gateway, now: float) -> dict[str, Any]:
    """Whether each service can be asked, for ``/health/services``: no numbers, no past."""
    found = {}
    for name, upstream in gateway.upstreams.items():
        endpoints = gateway.endpoints(upstream, now)
        able = sum(endpoint.able for endpoint in endpoints)
        status = "ok" if upstream.breaker.state == "closed" and able == len(endpoints) else "degraded"
        if upstream.breaker.state == "open" or not able:
            status = "down"
        found[name] = {"status": status, "circuit": upstream.breaker.state, "endpoints": len(endpoints), "able": able}
    worst = "ok" if all(service["status"] == "ok" for service in found.values()) else "degraded"
    return {"status": worst, "services": found}


def _service(
    gateway: Gateway, upstream: Upstream, series: Mapping[Key, Series], now: float, *, past: bool
) -> dict[str, Any]:
    name, state = upstream.name, upstream.breaker.state
    own = series["service", name]
    health = "bad" if state == "open" else "warn" if state == "half-open" else _health(own.window())
    return {
        "name": name,
        "circuit": state,
        "health": health,
        "in_flight": upstream.wire.in_flight,
        "limit": upstream.limit,
        "budget": round(upstream.budget.left(now)),
        **_window(own),
        "points": _points(own, past=past),
        "endpoints": [
            _endpoint(endpoint, series.get(("endpoint", name, endpoint.authority)), past=past)
            for endpoint in gateway.endpoints(upstream, now)
        ],
    }


def _endpoint(endpoint: EndpointView, own: Series | None, *, past: bool) -> dict[str, Any]:
    own = own or Series((0, 0, ()))  # it came within this second
    return {
        "authority": endpoint.authority,
        "health": _health(own.window()) if endpoint.able else "bad",
        "able": endpoint.able,
        "in_flight": endpoint.in_flight,
        **_window(own),
        "points": _points(own, past=past),
    }


def _page(page: PageRoute, series: Mapping[Key, Series], *, past: bool) -> dict[str, Any]:
    where = (page.method, page.path)
    own, degraded = series["page", *where].window(), series["degraded", *where].window()
    health = _health(own)
    if health == "ok" and degraded.bad is not None and degraded.bad >= MIXED:
        health = "warn"
    shown: dict[str, Any] = {
        "name": page.plan.name,
        "method": page.method,
        "route": page.path,
        "health": health,
        "in_flight": page.meter.in_flight,
        "degraded": _round(degraded.bad, 4),
        "shed": page.meter.shed,
        "late": page.meter.late,
        **_window(series["page", *where]),
        "points": _points(series["page", *where], past=past),
        "sections": [
            _section(section, series["section", *where, section.name], past=past) for section in page.plan.sections
        ],
    }
    if past:
        shown["graph"] = svg(page.plan, styled=False)
    return shown


def _section(section: PlannedSection, own: Series, *, past: bool) -> dict[str, Any]:
    shown = {"name": section.name, "health": _health(own.window()), **_window(own)}
    if past:
        shown |= {"target": section.target, "required": section.required, "after": list(section.depends_on)}
    return shown


def _rule(limit: AnyLimit) -> str:
    if isinstance(limit, RateLimit):
        return limit.rate if limit.burst is None else f"{limit.rate}, {limit.burst} at once"
    return f"{limit.limit} a {limit.per}" if isinstance(limit, Quota) else f"{limit.limit} at once"


def _event(entry: Entry) -> dict[str, Any]:
    event = entry.event
    return {
        "first": round(entry.first, 1),
        "last": round(entry.last, 1),
        "count": entry.count,
        "name": event.name,
        "severity": event.severity,
        "about": event.pipeline,
        "operation": event.operation,
        "strategy": event.strategy,
        # A missing row's id is a client's data; all else is of our own making.
        "detail": "" if event.name == "OnMissing" else entry.detail[:200],
    }


def _health(window: Window) -> str:
    if window.bad is None:
        return "idle"
    return "bad" if window.bad >= BAD else "warn" if window.bad >= MIXED else "ok"


def _window(series: Series) -> dict[str, Any]:
    window = series.window()
    return {
        "rate": round(window.rate, 2),
        "errors": _round(window.bad, 4),
        "p50": _ms(window.p50),
        "p99": _ms(window.p99),
    }


def _points(series: Series, *, past: bool) -> list[list[float | None]]:
    points = list(series.points)
    return [[_ms(latency), _round(bad, 4)] for latency, bad in (points if past else points[-1:])]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
