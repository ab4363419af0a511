"""Rates, shares and quantiles of the last minute, from counters that only grow. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ..telemetry.meters import BOUNDS

__all__ = ["POINTS", "WINDOW", "Series", "Window", "quantile"]

WINDOW = 60
POINT = 10
POINTS = 90


@dataclass(frozen=True, slots=True)
class Window:
    """``rate`` is a second, ``bad`` a share of all (None when there was nothing), quantiles are in seconds."""

    count: int
    rate: float
    bad: float | None
    p50: float | None
    p99: float | None


Reading = tuple[int, int, Sequence[int]]
"""How many, how many of them bad, and the counts of a histogram's buckets; all since the start."""


class Series:
    """One counter's past: a reading each second, for the last minute; ``points`` are ten seconds each, one a second."""

    __slots__ = ("_readings", "points")

    def __init__(self, first: Reading) -> None:
        self._readings: deque[Reading] = deque([first], maxlen=WINDOW + 1)
        self.points: deque[tuple[float | None, float | None]] = deque(maxlen=POINTS)

    def push(self, reading: Reading) -> None:
        """Take the reading of this second."""
        self._readings.append(reading)
        latest = self.window(POINT)
        self.points.append((latest.p99, latest.bad))

    def window(self, seconds: int = WINDOW) -> Window:
        """The last ``seconds``, or what there is of them."""
        readings = self._readings
        length = min(seconds, len(readings) - 1)
        count, bad, buckets = readings[-1]
        before, bad_before, buckets_before = readings[-1 - length]
        passed = count - before
        counts = [now - then for now, then in zip(buckets, buckets_before, strict=True)]
        return Window(
            passed,
            passed / length if length else 0.0,
            min(1.0, (bad - bad_before) / passed) if passed else None,
            quantile(0.5, counts),
            quantile(0.99, counts),
        )


def quantile(share: float, counts: Sequence[int]) -> float | None:
    """As Prometheus' ``histogram_quantile``: linear within the bucket; None when there is nothing. What is above the
    last bound is taken for it."""
    wanted = share * sum(counts)
    if not wanted:
        return None
    below = 0
    for index, count in enumerate(counts[:-1]):
        if count and below + count >= wanted:
            start = BOUNDS[index - 1] if index else 0.0
            return start + (BOUNDS[index] - start) * (wanted - below) / count
        below += count
    return BOUNDS[-1]
