"""What replicas share, and what must last."""

from .protocols import KeyValueStore, StoreUnavailable
from .sql import sql_engine
from .valkey import valkey_client

__all__ = ["KeyValueStore", "StoreUnavailable", "sql_engine", "valkey_client"]
