"""Delivering to one endpoint: at its pace, so many at once, and no longer than its turn."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog

from .connector import NOT_SENDABLE, Connector, Outcome
from .events import EventTypes, WebhookEvent
from .queue import Due, Lane, Release, Result
from .retry import Verdict, decide
from .sealing import Sealer
from .signing import Signer

__all__ = ["Courier", "LaneRun"]

log = structlog.get_logger("bff.webhooks")

AGENT = b"content-type: application/json\r\nuser-agent: bff-webhooks\r\n"
MOST_BODIES = 1024
LONGEST_PAUSE = 86_400.0
SKEW = 1.0


class Courier:
    """Makes one attempt: renders, signs, sends. ``clock`` is Unix time in seconds."""

    def __init__(
        self, connector: Connector, types: EventTypes, sealer: Sealer, clock: Callable[[], float] = time.time
    ) -> None:
        self._connector = connector
        self._types = types
        self._sealer = sealer
        self._clock = clock
        self._bodies: dict[tuple[str, str | None], bytes] = {}

    def signer(self, sealed: Sequence[tuple[bytes, str]]) -> Signer:
        """Raises ``SettingsError`` when a secret cannot be opened, ``ValueError`` when there is none."""
        return Signer([self._sealer.open(*entry) for entry in sealed])

    async def attempt(self, lane: Lane, due: Due, signer: Signer) -> Outcome:
        """Send ``due`` to ``lane``."""
        try:
            body = self._body(lane, due)
        except Exception:
            log.exception("webhook.not_rendered", event_id=due.event, type=due.type, version=lane.version)
            return Outcome(None, NOT_SENDABLE)
        return await self.send(lane.endpoint, lane.url, due.event, body, signer)

    async def send(self, endpoint: str, url: str, event: str, body: bytes, signer: Signer) -> Outcome:
        """Sign ``body`` as of now, and send it."""
        now = int(self._clock())
        headers = AGENT + (
            f"webhook-id: {event}\r\nwebhook-timestamp: {now}\r\nwebhook-signature: {signer.sign(event, now, body)}\r\n"
        ).encode("ascii")
        return await self._connector.post(endpoint, url, headers, body)

    def _body(self, lane: Lane, due: Due) -> bytes:
        key = due.event, lane.version
        body = self._bodies.get(key)
        if body is None:
            if len(self._bodies) >= MOST_BODIES:
                self._bodies.clear()
            at = datetime.fromtimestamp(due.created_at / 1000, UTC)
            body = self._types.body(WebhookEvent(due.event, due.type, at, json.loads(due.data), lane.version))
            self._bodies[key] = body
        return body


class LaneRun:
    """One turn of ``lane``: ``done`` is told of each attempt.

    It ends when its work is done, ``seconds`` have passed, the endpoint asks to be left alone, ``concurrency``
    attempts in a row have failed, or, in an ordered lane, one, whoever is to blame. What was not tried stays as it is.
    """

    def __init__(
        self,
        lane: Lane,
        courier: Courier,
        done: Callable[[Result], None],
        *,
        schedule: Sequence[float],
        concurrency: int,
        failing_rate: float,
        seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lane = lane
        self._courier = courier
        self._done = done
        self._schedule = schedule
        self._concurrency = 1 if lane.ordered else concurrency
        self._failing_rate = failing_rate
        self._clock = clock
        self._seconds = seconds
        self._until = clock() + seconds
        self._waiting = iter(lane.work)
        self._next = 0.0
        self._failures = 0
        self._paused = 0.0
        self._gone = False
        self.stopped = False

    async def run(self) -> Release:
        """Deliver; what is then to be done with the lane."""
        lane = self._lane
        try:
            signer = self._courier.signer(lane.sealed)
        except Exception:
            log.exception("webhook.no_secret", endpoint=lane.endpoint)
            return Release(lane, int((self._clock() + 60) * 1000))
        workers = min(self._concurrency, len(lane.work))
        await asyncio.gather(*[self._deliver(signer) for _ in range(workers)])
        if self._failures:
            self._paused = max(self._paused, self._clock() + self._failures / self._failing_rate)
        now, paced = self._clock(), 0.0
        if lane.rate is not None:
            paced = min(self._next, now + self._seconds + 1 / lane.rate)  # no later by a clock that was not set back
        paused = min(max(self._paused, paced), now + LONGEST_PAUSE)
        return Release(lane, int(paused * 1000), self._gone)

    async def _deliver(self, signer: Signer) -> None:
        lane = self._lane
        while not self.stopped and not self._over() and await self._paced():
            due = next(self._waiting, None)
            if due is None or self.stopped:
                return
            at = self._clock()
            outcome = await self._courier.attempt(lane, due, signer)
            verdict = decide(outcome, due.step, self._schedule, random.random())  # noqa: S311 - jitter
            self._note(verdict, at, ours=outcome.error == NOT_SENDABLE)
            self._done(Result(lane, due, outcome, verdict, int(at * 1000)))

    def _over(self) -> bool:
        """Also when the clock was set back: what was reckoned by it holds no more."""
        return not 0 < self._until - self._clock() <= self._seconds + SKEW

    async def _paced(self) -> bool:
        """Wait for this lane's next slot; False when that is not within this turn."""
        rate = self._lane.rate
        if rate is None:
            return True
        now = self._clock()
        slot = max(now, self._next)
        if slot >= self._until:
            return False
        self._next = slot + 1 / rate
        if slot > now:
            await asyncio.sleep(slot - now)
        return True

    def _note(self, verdict: Verdict, at: float, *, ours: bool) -> None:
        lane = self._lane
        if verdict.state == "delivered":
            self._failures = 0
            lane.failing_since, lane.warned = None, False
            return
        if not ours:  # a failure of ours says nothing about the endpoint
            self._failures += 1
            lane.failing_since = lane.failing_since or int(at * 1000)
        now = self._clock()
        if verdict.pause:
            self._paused = max(self._paused, now + verdict.pause)
        if lane.ordered and verdict.state == "pending":
            self._paused = max(self._paused, now + verdict.wait)
            self.stopped = True  # whoever is to blame: nothing overtakes it
        self._gone = self._gone or verdict.gone
        if self._gone or verdict.pause or self._failures >= self._concurrency:
            self.stopped = True
