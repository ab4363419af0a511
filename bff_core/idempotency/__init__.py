"""Idempotency-Key: a request that is sent again is carried out once, and answered as the first time."""

from .ledger import Ledger
from .once import KEY_PATTERN, Mode, Once

__all__ = ["KEY_PATTERN", "Ledger", "Mode", "Once"]
