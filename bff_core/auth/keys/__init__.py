"""API keys that are issued, rotated and revoked while the gateway runs."""

from .record import KeyRecord
from .stored import StoredKeys, Uses

__all__ = ["KeyRecord", "StoredKeys", "Uses"]
