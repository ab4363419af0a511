"""What replicas share, and what must last."""

from .valkey import valkey_client

__all__ = ["valkey_client"]
