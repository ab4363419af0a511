"""The small protocols behind which stores stand."""

from __future__ import annotations

from typing import Protocol

__all__ = ["KeyValueStore", "StoreUnavailable"]


class StoreUnavailable(Exception):
    """The store cannot be reached, is full, or did not answer in time. Whether a write was done is not known.

    The message says why, never a key, a value or the URL.
    """


class KeyValueStore(Protocol):
    """Values that end by themselves, and change only for who knew what was there. Keys are text, values bytes, times to
    live seconds: what is put for zero seconds or less has ended already. Every method raises ``StoreUnavailable``, and
    every method does once the store is closed. For one event loop."""

    async def get(self, key: str) -> bytes | None:
        """The value, while it lives."""

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write it, whatever was there."""

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        """Compare and set: write ``value`` if ``expected`` is there (None: if nothing is); whether it was written."""

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove it (only if it is ``expected``, when that is given); whether something was removed."""

    async def aclose(self) -> None:
        """Let go of connections and files."""
