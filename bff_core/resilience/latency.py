"""A rolling percentile of latencies, for the moment to hedge."""

from __future__ import annotations

__all__ = ["RollingPercentile"]

SIZE = 256
EVERY = 32


class RollingPercentile:
    """The ``fraction`` percentile of the last 256 samples, computed anew every 32; None before the first 32."""

    __slots__ = ("_fraction", "_next", "_samples", "value")

    def __init__(self, fraction: float) -> None:
        self._fraction = fraction
        self._samples: list[float] = []
        self._next = 0
        self.value: float | None = None

    def add(self, sample: float) -> None:
        """Take one more sample, in seconds."""
        if len(self._samples) < SIZE:
            self._samples.append(sample)
        else:
            self._samples[self._next % SIZE] = sample
        self._next += 1
        if self._next % EVERY == 0:
            ordered = sorted(self._samples)
            self.value = ordered[min(len(ordered) - 1, int(len(ordered) * self._fraction))]
