"""Logs, metrics, traces and events."""

from .access import AccessLog
from .events import Event, Events
from .logs import configure_logs
from .meters import AttemptMeter, Histogram, OperationMeter, PageMeter, SectionMeter
from .reason import reason_of
from .recent import RecentEvents
from .security import log_refused
from .spans import Span, Spans
from .trace import Trace, from_span, read_trace
from .tracing import Tracer, make_tracer

__all__ = [
    "AccessLog",
    "AttemptMeter",
    "Event",
    "Events",
    "Histogram",
    "OperationMeter",
    "PageMeter",
    "RecentEvents",
    "SectionMeter",
    "Span",
    "Spans",
    "Trace",
    "Tracer",
    "configure_logs",
    "from_span",
    "log_refused",
    "make_tracer",
    "read_trace",
    "reason_of",
]
