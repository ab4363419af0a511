"""Limits: what is not let in."""

from .shedding import Criticality, LagMonitor, Shedder

__all__ = ["Criticality", "LagMonitor", "Shedder"]
