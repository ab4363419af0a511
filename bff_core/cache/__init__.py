"""Caching of what services answer: the rules of RFC 9111, and stores that hold responses."""

from .changes import Changes
from .codec import decode, encode
from .fields import parse_cache_control
from .last_good import LastGood
from .memory import MemoryStore
from .rfc9111 import (
    REASONS,
    Decision,
    Stored,
    conditional_headers,
    decide,
    matches,
    refreshed,
    remaining,
    store,
    usable_on_error,
    validates,
)
from .shared import SharedStore
from .valkey import ValkeyStore

__all__ = [
    "REASONS",
    "Changes",
    "Decision",
    "LastGood",
    "MemoryStore",
    "SharedStore",
    "Stored",
    "ValkeyStore",
    "conditional_headers",
    "decide",
    "decode",
    "encode",
    "matches",
    "parse_cache_control",
    "refreshed",
    "remaining",
    "store",
    "usable_on_error",
    "validates",
]
