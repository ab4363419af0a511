"""What was changed, and when: no answer to a question from before that is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["Changes"]

MOST = 1024


class Changes:
    """The latest changes by name; those left out for space count for everything, as the latest of them.

    Pure: instants are of a monotonic clock.
    """

    __slots__ = ("_at", "_floor")

    def __init__(self) -> None:
        self._at: OrderedDict[Hashable, float] = OrderedDict()
        self._floor = float("-inf")

    def note(self, name: Hashable, now: float) -> None:
        """It was changed."""
        self._at[name] = now
        self._at.move_to_end(name)
        if len(self._at) > MOST:
            self._floor = max(self._floor, self._at.popitem(last=False)[1])

    def since(self, name: Hashable, asked: float) -> bool:
        """Whether it was, or may have been, changed since somebody ``asked``."""
        return asked <= max(self._floor, self._at.get(name, self._floor))
