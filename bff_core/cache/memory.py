"""Stored responses in this process, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from .rfc9111 import Stored

__all__ = ["MemoryStore"]

LARGEST_SHARE = 4  # an entry may take one part in so many of the bound
GROUP_OVERHEAD = 384  # bytes that CPython spends on a group of one
Key = bytes


class MemoryStore:
    """The least recently used goes first; every operation takes constant time. For one thread."""

    __slots__ = ("_bytes", "_entries", "_groups", "_max_bytes")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError("max_bytes must not be negative")
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Stored, int, Key]] = OrderedDict()
        self._groups: dict[Key, set[Key]] = {}
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

    def put(self, key: Key, stored: Stored, group: Key = b"") -> None:
        """Keep it in place of what the key had, to be forgotten with its ``group`` if it has one. One larger than a
        quarter of the bound is not kept."""
        self.delete(key)
        size = stored.size + len(key) + (len(group) + GROUP_OVERHEAD if group else 0)
        if size * LARGEST_SHARE > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self.delete(next(iter(self._entries)))
        self._entries[key] = (stored, size, group)
        if group:
            self._groups.setdefault(group, set()).add(key)
        self._bytes += size

    def delete(self, key: Key) -> None:
        """Forget it, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        _, size, group = entry
        self._bytes -= size
        if group:
            members = self._groups[group]
            members.discard(key)
            if not members:
                del self._groups[group]

    def forget(self, group: Key) -> None:
        """Forget all of a group."""
        for key in list(self._groups.get(group, ())):
            self.delete(key)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._groups.clear()
        self._bytes = 0
