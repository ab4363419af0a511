"""Load shedding: an overloaded gateway serves what it can and refuses the rest at once, the least critical first.

Overload is measured as queueing: how late the event loop is, and how long requests wait for their turn. As in CoDel, a
standing queue counts, not a burst: the least of an interval.
"""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from ..telemetry import Histogram
from .turns import Turns

__all__ = ["Criticality", "LagMonitor", "Shedder"]

Criticality = Literal["critical", "default", "sheddable"]

INTERVAL = 0.1
SAMPLE = 0.02
STEP = 0.08
MOST = 2.9
FLOORS: dict[str, float] = {"sheddable": 0.0, "default": 1.0, "critical": 2.0}


class Shedder:
    """``level`` runs from 0 (nothing is refused) over 1 (all sheddable requests are) and 2 (all default ones too) to
    2.9 (of the critical ones nine in ten). ``target`` is the wait, in seconds, up to which all is well. Pure."""

    __slots__ = ("_carry", "_least", "_since", "level", "refused", "target")

    def __init__(self, target: float) -> None:
        self.target = target
        self.level = 0.0
        self.refused = 0
        self._least = float("inf")
        self._since: float | None = None
        self._carry = dict.fromkeys(FLOORS, 0.0)

    def observe(self, wait: float, now: float) -> None:
        """What was due began ``wait`` seconds late at ``now``."""
        self._least = min(self._least, wait)
        if self._since is None:
            self._since = now
        elif now - self._since >= INTERVAL:
            excess = self._least / self.target
            change = STEP * min(4.0, excess) if excess > 1 else -STEP / 2
            self.level = max(0.0, min(MOST, self.level + change))
            self._since, self._least = now, float("inf")

    def admits(self, criticality: Criticality) -> bool:
        """Whether to serve one more request. Refusals are spread evenly, not drawn."""
        share = self.level - FLOORS[criticality]
        if share <= 0:
            return True
        carried = self._carry[criticality] + min(1.0, share)
        if carried < 1:
            self._carry[criticality] = carried
            return True
        self._carry[criticality] = carried - 1
        self.refused += 1
        return False


class LagMonitor:
    """Feeds a shedder with the event loop's lag, or with the wait for a turn where that is longer, fifty times a
    second; ``seen`` holds all of the lag."""

    def __init__(self, shedder: Shedder, turns: Turns) -> None:
        self._shedder = shedder
        self._turns = turns
        self.seen = Histogram()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Begin to measure on the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + SAMPLE
        self._timer = loop.call_at(self._due, self._sample)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _sample(self) -> None:
        now = asyncio.get_running_loop().time()
        lag = max(0.0, now - self._due)
        self._shedder.observe(max(lag, self._turns.waited(time.monotonic())), now)
        self.seen.observe(lag)
        self.start()
