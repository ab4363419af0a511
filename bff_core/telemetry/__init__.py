"""Logs, traces and events."""

from .access import AccessLog
from .events import Event, Events
from .logs import configure_logs
from .security import log_refused
from .trace import Trace, read_trace

__all__ = ["AccessLog", "Event", "Events", "Trace", "configure_logs", "log_refused", "read_trace"]
