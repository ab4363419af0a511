"""The last good value of a section, for when there is no new one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["LastGood"]

OVERHEAD = 512


class LastGood:
    """Values by key, the least lately used forgotten first, bounded by the sizes (bytes) they are said to have
    and half a kilobyte each.

    A key must hold all that could change the value, and whose data it is. Pure: ``now`` is a monotonic instant.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._values: OrderedDict[Hashable, tuple[Any, int, float]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: Hashable, value: Any, size: int, now: float) -> None:
        """Remember ``value``; one larger than the bound is not kept."""
        self.forget(key)
        size += OVERHEAD
        if size > self._max:
            return
        value = copy.deepcopy(value)
        self._values[key] = (value, size, now)
        self.bytes += size
        while self.bytes > self._max:
            _, (_, forgotten, _) = self._values.popitem(last=False)
            self.bytes -= forgotten

    def forget(self, key: Hashable) -> None:
        """Remember it no longer."""
        known = self._values.pop(key, None)
        if known is not None:
            self.bytes -= known[1]

    def get(self, key: Hashable, max_age: float, now: float) -> tuple[Any, float] | None:
        """A copy of the value and its age in seconds; None when there is none, or it is older than ``max_age``."""
        known = self._values.get(key)
        if known is None or now - known[2] > max_age:
            return None
        self._values.move_to_end(key)
        return copy.deepcopy(known[0]), now - known[2]
