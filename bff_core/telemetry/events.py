"""Events: every decision of the resilience strategies, told to whoever listens. The vocabulary is Polly's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import structlog

__all__ = ["Event", "Events", "Listener", "Severity"]

Severity = Literal["debug", "information", "warning", "error"]
log = structlog.get_logger("bff.resilience")


@dataclass(frozen=True, slots=True)
class Event:
    """One decision.

    ``name`` is ``OnRetry``, ``OnHedging``, ``OnTimeout``, ``OnCircuitOpened``, ``OnCircuitClosed``,
    ``OnCircuitHalfOpened``, ``OnCircuitRejected``, ``OnBulkheadRejected``, ``OnFallback``, ``OnStale``, ``OnMissing``,
    ``OnEjected``, ``OnShed``, ``OnRateLimiterRejected``, ``OnStoreLost`` or ``OnStoreBack``. ``pipeline`` is the
    service, of ``OnShed`` the page, of ``OnRateLimiterRejected`` the route (and ``operation`` the limit); ``attempt``
    counts from 0;
    ``handled`` says whether the failure was one the strategy answers to.
    """

    name: str
    severity: Severity
    pipeline: str
    strategy: str
    operation: str = ""
    attempt: int = 0
    handled: bool = True
    detail: str = ""


Listener = Callable[[Event], None]


class Events:
    """Who is told. A listener that raises is logged and hinders nobody."""

    __slots__ = ("listeners",)

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = (_log_circuits,)

    def subscribe(self, listener: Listener) -> None:
        """Tell ``listener`` of every event from now on. It is called on the request's path: be quick, never wait."""
        self.listeners = (*self.listeners, listener)

    def emit(self, event: Event) -> None:
        """Tell everybody."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:
                log.exception("listener.error", event_name=event.name)


def _log_circuits(event: Event) -> None:
    # One line for each change of state; what happens to single calls would drown the log in an outage.
    if event.strategy == "CircuitBreaker" and event.name != "OnCircuitRejected":
        log.warning("circuit", change=event.name, service=event.pipeline, detail=event.detail)
