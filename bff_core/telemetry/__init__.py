"""Logs, traces and events."""

from .events import Event, Events
from .logs import configure_logs
from .security import log_refused
from .trace import Trace, read_trace

__all__ = ["Event", "Events", "Trace", "configure_logs", "log_refused", "read_trace"]
