"""Hardening of the edge: caps, one meaning for every request, CORS, and headers that protect."""

from .answers import AnswerHeaders, with_defaults
from .body import LimitedBody
from .cors import CorsPolicy
from .guard import Guard
from .hosts import HostRule
from .settings import Cors, Hardening

__all__ = ["AnswerHeaders", "Cors", "CorsPolicy", "Guard", "Hardening", "HostRule", "LimitedBody", "with_defaults"]
