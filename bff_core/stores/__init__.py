"""What replicas share, and what must last."""

from .sql import sql_engine
from .valkey import valkey_client

__all__ = ["sql_engine", "valkey_client"]
