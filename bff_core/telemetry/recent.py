"""What happened lately: events counted, and the last of them kept for whoever looks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from .events import Event

__all__ = ["Entry", "RecentEvents"]

MOST = 200
TOGETHER = 10.0


class Entry:
    """Events of one kind that came within ten seconds. ``first`` and ``last`` are Unix times."""

    __slots__ = ("count", "detail", "event", "first", "last")

    def __init__(self, event: Event, now: float) -> None:
        self.event = event
        self.detail = event.detail
        self.first = self.last = now
        self.count = 1


class RecentEvents:
    """A listener. ``entries`` are the last two hundred, the oldest first; an outage's thousands become few, so that
    they do not drive out what says how it began. ``counts`` since the start are by event, by what it is about
    (a service, a page) and by operation (or limit)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[tuple[str, str, str], Entry] = {}
        self.entries: deque[Entry] = deque(maxlen=MOST)
        self.counts: dict[tuple[str, str, str], int] = {}

    def __call__(self, event: Event) -> None:
        """Take note."""
        now = self._clock()
        key = (event.name, event.pipeline, event.operation)
        self.counts[key] = self.counts.get(key, 0) + 1
        entry = self._open.get(key)
        if entry is not None and 0 <= now - entry.first < TOGETHER:
            entry.count += 1
            entry.last = now
            entry.detail = event.detail
            return
        self._open[key] = entry = Entry(event, now)
        self.entries.append(entry)
