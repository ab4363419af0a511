"""The console's second hand: reads the counters once a second and tells who watches."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from ..telemetry import AttemptMeter, Histogram, PageMeter, SectionMeter
from ..telemetry.meters import FAILED, GAVE_UP, STALE
from .gateway import Gateway, add, blamed
from .history import Reading, Series
from .snapshot import Key, snapshot

__all__ = ["Pulse"]

SERVER_ERROR = 500


class Pulse:
    """The gateway's last minutes. ``sample`` is called once a second while ``run`` runs."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._series: dict[Key, Series] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._tick: str | None = None
        self._ended = False
        self.sample()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(1.0)
                self.sample()
        finally:
            self._ended = True
            self._wake()

    async def beat(self) -> bool:
        """Wait for the next second; false when there will be none."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
        return not self._ended

    def sample(self) -> None:
        """Take a reading of everything; what is no longer there is forgotten."""
        readings = dict(self._readings())
        self._series = {key: self._series.get(key) or Series(reading) for key, reading in readings.items()}
        for key, reading in readings.items():
            self._series[key].push(reading)
        self._tick = None
        self._wake()

    def snapshot(self) -> dict[str, Any]:
        """Everything the console shows, with the past."""
        return snapshot(self._gateway, self._series, time.monotonic(), past=True)

    def tick(self) -> str:
        """What changes from second to second, as JSON; made once however many watch."""
        if self._tick is None:
            self._tick = encode(snapshot(self._gateway, self._series, time.monotonic(), past=False))
        return self._tick

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _readings(self) -> list[tuple[Key, Reading]]:
        gateway, now = self._gateway, time.monotonic()
        found: list[tuple[Key, Reading]] = []
        total, late, all_bad = Histogram(), 0, 0
        for page in gateway.page_meters():
            count, bad = sum(page.statuses.values()), _errors(page)
            where = (page.method, page.route)
            found.append((("page", *where), (count, bad, tuple(page.duration.counts))))
            found.append((("degraded", *where), (count, page.degraded, tuple(page.duration.counts))))
            found += [(("section", *where, section.name), _section(section)) for section in page.sections]
            if page.sections:
                add(total, page.duration)
                all_bad += bad
                late += page.degraded
        counts = tuple(total.counts)
        found += [(("all",), (sum(counts), all_bad, counts)), (("all", "degraded"), (sum(counts), late, counts))]
        lag = tuple(gateway.lag.counts)
        found.append((("lag",), (sum(lag), 0, lag)))
        for name, upstream in gateway.upstreams.items():
            found.append((("service", name), _attempts(gateway.attempts(name))))
            found += [
                (("endpoint", name, endpoint.authority), _attempts(endpoint.attempts))
                for endpoint in gateway.endpoints(upstream, now)
            ]
        return found


def _errors(page: PageMeter) -> int:
    return sum(count for status, count in page.statuses.items() if status >= SERVER_ERROR)


def _section(section: SectionMeter) -> Reading:
    outcomes = section.outcomes
    bad = outcomes[FAILED] + outcomes[STALE]
    return section.ok + bad, bad, tuple(section.duration.counts)


def _attempts(attempts: AttemptMeter) -> Reading:
    failures = attempts.failures
    count = attempts.answered + sum(failures.values()) - failures.get(GAVE_UP, 0)
    return count, blamed(attempts), tuple(attempts.duration.counts)


def encode(data: Any) -> str:
    """Compact JSON in one line, safe inside HTML and an event stream."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
