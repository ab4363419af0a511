"""Dispatchers: any number, in any number of processes. One that is killed loses nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from .lane import Courier, LaneRun
from .queue import Lane, Queue, Release, Result
from .settings import WebhookSettings

__all__ = ["Dispatcher"]

log = structlog.get_logger("bff.webhooks")

LANES_A_TURN = 8  # so that other dispatchers find some too
FAILING_SHARE = 4  # one lane in so many may be one that fails
FULL = 200  # results that are written down without waiting for a lane to end
PURGE_EVERY = 600.0
STRAYS_EVERY = 10.0
LONGEST_BACKOFF = 5.0
LAST_TRIES = 3


class Dispatcher:
    """Takes lanes from ``queue`` and has ``courier`` deliver to them, until it is stopped."""

    def __init__(
        self, queue: Queue, courier: Courier, settings: WebhookSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._queue = queue
        self._courier = courier
        self._settings = settings
        self._clock = clock
        self._results: list[Result] = []
        self._releases: list[Release] = []
        self._running: dict[asyncio.Task[None], tuple[LaneRun, Lane, bool]] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._purge_at = 0.0
        self._strays_at = 0.0

    def wake(self) -> None:
        """Something is due: look now."""
        self._wake.set()

    def stop(self) -> None:
        """Begin no further attempt; ``run`` returns when those under way are written down."""
        self._stopping = True
        for run, _, _ in self._running.values():
            run.stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Deliver until ``stop``. A database that fails is tried again and again."""
        failures = 0
        try:
            while True:
                self._wake.clear()
                finished = self._stopping and not self._running
                failures = 0 if await self._turn() else failures + 1
                if finished and (not failures or failures >= LAST_TRIES):
                    return
                if failures:
                    await asyncio.sleep(min(LONGEST_BACKOFF, 0.05 * 2 ** min(failures, 10)) * random.random())  # noqa: S311
                else:
                    await self._wait()
        finally:
            for task in list(self._running):
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def drain(self) -> None:
        """Deliver all that is due now, then return. Raises ``RuntimeError`` when the database fails."""
        while True:
            if not await self._turn():
                raise RuntimeError("the database of the webhooks fails")
            if not self._running and not self._results and not self._releases:
                return
            if self._running:
                await asyncio.wait(self._running)

    async def _turn(self) -> bool:
        results, self._results = self._results, []
        releases, self._releases = self._releases, []
        failing = sum(failing for _, _, failing in self._running.values())
        room = 0 if self._stopping else self._settings.lanes - len(self._running)
        share = max(1, self._settings.lanes // FAILING_SHARE) - failing
        try:
            lanes = await self._queue.turn(
                results,
                releases,
                healthy=min(room, LANES_A_TURN),
                failing=min(room, share, LANES_A_TURN),
            )
        except Exception as error:  # noqa: BLE001 - whatever a database and its driver raise
            log.warning("webhook.store_failed", error=type(error).__name__)
            self._results[:0] = results
            self._releases[:0] = releases
            return False
        for lane in lanes:
            self._start(lane)
        if len(lanes) >= LANES_A_TURN:
            self._wake.set()  # there are more
        return await self._tidy()

    async def _tidy(self) -> bool:
        now = self._clock()
        if now < min(self._purge_at, self._strays_at) or self._stopping:
            return True
        try:
            if now >= self._strays_at:
                await self._queue.drop_strays()
                self._strays_at = now + STRAYS_EVERY
            if now < self._purge_at:
                return True
            removed = await self._queue.purge(now - self._settings.retention)
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("webhook.store_failed", error=type(error).__name__)
            return False
        if not removed:
            self._purge_at = now + PURGE_EVERY * (0.5 + random.random())  # noqa: S311 - not all at once
        return True

    async def _wait(self) -> None:
        # A little less or more, so that idle dispatchers do not all look at once.
        poll = self._settings.poll * (0.75 + random.random() / 2)  # noqa: S311
        try:
            async with asyncio.timeout(poll):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _start(self, lane: Lane) -> None:
        run = LaneRun(
            lane,
            self._courier,
            self._done,
            schedule=self._settings.schedule,
            concurrency=self._settings.concurrency,
            failing_rate=self._settings.failing_rate,
            seconds=self._settings.turn,
            clock=self._clock,
        )
        task = asyncio.get_running_loop().create_task(self._run_lane(run))
        self._running[task] = run, lane, lane.failing_since is not None
        task.add_done_callback(self._ended)

    async def _run_lane(self, run: LaneRun) -> None:
        release = await run.run()
        self._releases.append(release)  # to the list as it is now: turns take it away

    def _done(self, result: Result) -> None:
        self._results.append(result)
        if len(self._results) >= FULL:
            self._wake.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook.lane_failed", exc_info=error)  # its lease ends by itself
        self._wake.set()
