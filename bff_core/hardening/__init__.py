"""Hardening of the edge: caps, one meaning for every request, CORS, and headers that protect."""

from .answers import AnswerHeaders, with_defaults
from .cors import CorsPolicy
from .gate import Gate
from .hosts import HostRule
from .settings import Cors, Hardening

__all__ = ["AnswerHeaders", "Cors", "CorsPolicy", "Gate", "Hardening", "HostRule", "with_defaults"]
