"""A rolling count: how many of something in the last seconds."""

from __future__ import annotations

__all__ = ["RollingCount"]

BUCKETS = 10


class RollingCount:
    """Counts over the last ``length`` seconds, exact to one tenth of it. Pure: ``now`` never goes backwards."""

    __slots__ = ("_buckets", "_epoch", "_total", "_width")

    def __init__(self, length: float) -> None:
        self._width = length / BUCKETS
        self._epoch = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._buckets = [0] * BUCKETS
        self._total = 0

    def add(self, now: float) -> None:
        """Count one more at ``now``."""
        epoch = int(now / self._width)
        if epoch != self._epoch:
            self._advance(epoch)
        self._buckets[self._epoch % BUCKETS] += 1
        self._total += 1

    def total(self, now: float) -> int:
        """How many in the window that ends at ``now``."""
        epoch = int(now / self._width)
        if epoch != self._epoch:
            self._advance(epoch)
        return self._total

    def _advance(self, epoch: int) -> None:
        if epoch - self._epoch >= BUCKETS:
            self.clear()
        else:
            for passed in range(self._epoch + 1, epoch + 1):
                self._total -= self._buckets[passed % BUCKETS]
                self._buckets[passed % BUCKETS] = 0
        self._epoch = max(epoch, self._epoch)
