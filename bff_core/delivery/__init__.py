"""Lean delivery: entity tags, Cache-Control, content codings."""

from .answer import Deliverer
from .cache_control import check_cache_control
from .coding import Coding, Codings
from .etag import entity_tag, matching
from .settings import Delivery

__all__ = ["Coding", "Codings", "Deliverer", "Delivery", "check_cache_control", "entity_tag", "matching"]
