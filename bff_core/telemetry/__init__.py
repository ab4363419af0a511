"""Logs and traces."""

from .logs import configure_logs
from .trace import Trace, read_trace

__all__ = ["Trace", "configure_logs", "read_trace"]
