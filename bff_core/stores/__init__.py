"""What replicas share, and what must last."""

from .memory import MemoryKeyValueStore
from .migrations import Step, migrate
from .open import open_store
from .protocols import KeyValueStore, StoreUnavailable
from .sql import sql_engine
from .storable import storable
from .valkey import valkey_client

__all__ = [
    "KeyValueStore",
    "MemoryKeyValueStore",
    "Step",
    "StoreUnavailable",
    "migrate",
    "open_store",
    "sql_engine",
    "storable",
    "valkey_client",
]
