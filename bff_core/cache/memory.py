"""Stored responses in this process, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from .rfc9111 import Stored

__all__ = ["MemoryStore"]

LARGEST_SHARE = 4  # an entry may take one part in so many of the bound
TARGET_OVERHEAD = 256  # bytes that CPython spends on a target of one entry
Key = bytes


class _Target:
    """What entries can be forgotten with. ``entries`` counts them."""

    __slots__ = ("entries", "forgotten")

    def __init__(self) -> None:
        self.entries = 0
        self.forgotten = False


class MemoryStore:
    """The least recently used goes first; every operation takes constant time. For one thread."""

    __slots__ = ("_bytes", "_entries", "_max_bytes", "_targets")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError("max_bytes must not be negative")
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[Stored, int, Key, _Target | None]] = OrderedDict()
        self._targets: dict[Key, _Target] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What the entries take, keys included, and those forgotten that nobody asked for since; never more than the
        bound."""
        return self._bytes

    def get(self, key: Key) -> Stored | None:
        """The entry, which becomes the most recently used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        target = entry[3]
        if target is not None and target.forgotten:
            self.delete(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, stored: Stored, name: Key = b"") -> None:
        """Keep it in place of what the key had, to be forgotten with the target of that ``name`` if it has one. One
        larger than a quarter of the bound is not kept."""
        self.delete(key)
        size = stored.size + len(key) + (len(name) + TARGET_OVERHEAD if name else 0)
        if size * LARGEST_SHARE > self._max_bytes:
            return
        while self._bytes + size > self._max_bytes:
            self.delete(next(iter(self._entries)))
        target = None
        if name:
            target = self._targets.get(name)
            if target is None:
                target = self._targets[name] = _Target()
            target.entries += 1
        self._entries[key] = (stored, size, name, target)
        self._bytes += size

    def delete(self, key: Key) -> None:
        """Forget it, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        _, size, name, target = entry
        self._bytes -= size
        if target is not None:
            target.entries -= 1
            if not target.entries and not target.forgotten:
                del self._targets[name]

    def forget(self, name: Key) -> None:
        """Forget all of a target: none of it is given out any more; its room is free when it is asked for, or needed
        and its turn has come."""
        target = self._targets.pop(name, None)
        if target is not None:
            target.forgotten = True

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._targets.clear()
        self._bytes = 0
