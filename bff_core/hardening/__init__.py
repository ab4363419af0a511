"""Hardening of the edge: caps, one meaning for every request, CORS, and headers that protect."""

from .admission import Admission
from .answers import ARRIVED, EXCHANGE, AnswerHeaders, Header, Reply, with_defaults
from .body import LimitedBody
from .cors import CorsPolicy
from .hosts import HostRule
from .settings import Cors, Hardening

__all__ = [
    "ARRIVED",
    "EXCHANGE",
    "Admission",
    "AnswerHeaders",
    "Cors",
    "CorsPolicy",
    "Hardening",
    "Header",
    "HostRule",
    "LimitedBody",
    "Reply",
    "with_defaults",
]
