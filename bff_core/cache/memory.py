"""Stored responses in this process, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from .rfc9111 import Stored

__all__ = ["MemoryStore"]

LARGEST_SHARE = 4  # an entry may take one part in so many of the bound
Key = bytes


class MemoryStore:
    """The least recently used goes first; every operation takes constant time. For one thread."""

    __slots__ = ("_bytes", "_entries", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError("max_bytes must not be negative")
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Stored, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What the entries take, keys included; never more than the bound."""
        return self._bytes

    def get(self, key: Key) -> Stored | None:
        """The entry, which becomes the most recently used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, stored: Stored) -> None:
        """Keep it in place of what the key had. One larger than a quarter of the bound is not kept."""
        self.delete(key)
        size = stored.size + len(key)
        if size * LARGEST_SHARE > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self._bytes -= freed
        self._entries[key] = (stored, size)
        self._bytes += size

    def delete(self, key: Key) -> None:
        """Forget it, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._bytes = 0
