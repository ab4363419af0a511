"""Logs, traces and events."""

from .access import AccessLog
from .events import Event, Events
from .logs import configure_logs
from .trace import Trace, read_trace

__all__ = ["AccessLog", "Event", "Events", "Trace", "configure_logs", "read_trace"]
