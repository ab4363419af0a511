"""Circuit breaker: pybreaker holds the state and tells listeners; the decisions are ours.

pybreaker's own ``call`` does not work around awaits, so calls never run through it. A call asks ``admit`` for a permit
and reports on it; both are synchronous, hence atomic on the event loop.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import suppress

import pybreaker

from ..errors import RETRYABLE_STATUSES, CircuitOpen
from ..policy import BreakerPolicy
from .window import RollingCount

__all__ = ["Breaker", "Permit"]

CLIENT_ERROR, SERVER_ERROR = 400, 500
CLOSED, OPEN, HALF_OPEN = pybreaker.STATE_CLOSED, pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN


class Permit:
    """The right to make one call. Exactly one of ``success``, ``failure`` and ``drop`` ends it; later ones are ignored,
    and so are reports on a permit given before the circuit last changed."""

    __slots__ = ("_breaker", "generation", "since", "slow_after")

    def __init__(self, breaker: Breaker, generation: int, since: float, slow_after: float) -> None:
        self.slow_after = slow_after
        self._breaker: Breaker | None = breaker
        self.generation = generation
        self.since = since

    def success(self, now: float) -> None:
        """The service answered as it should."""
        self._end(now, failed=False)

    def failure(self, now: float) -> None:
        """The service failed: a transport error, a timeout or a 5xx."""
        self._end(now, failed=True)

    def answered(self, status: int, now: float) -> None:
        """The service answered with this status. A refusal shows a probe that the service is there again; it has no
        weight while the circuit is closed, or who asks for what is not there would hide how many others fail."""
        if status >= SERVER_ERROR:
            self.failure(now)
        elif status < CLIENT_ERROR:
            self.success(now)
        elif status in RETRYABLE_STATUSES or self._breaker is None or self._breaker.state is not HALF_OPEN:
            self.drop()
        else:
            self.success(now)

    def drop(self) -> None:
        """The call says nothing about the service: cancelled, or refused by it for the caller's fault."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.dropped(self)

    def _end(self, now: float, *, failed: bool) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker.report(self, now, failed=failed)


class Breaker:
    """One service's circuit. ``lease`` (seconds) is how long a half-open probe may hold its place; ``now`` is an
    instant of a monotonic clock; ``jitter`` gives numbers in [0, 1); ``changed`` is told each new state."""

    def __init__(
        self,
        name: str,
        policy: BreakerPolicy,
        *,
        lease: float = 1.0,
        jitter: Callable[[], float] = random.random,
        changed: Callable[[str], None] | None = None,
    ) -> None:
        self.policy = policy
        self.machine = pybreaker.CircuitBreaker(fail_max=sys.maxsize, throw_new_error_on_trip=False, name=name)
        self._slow_after = policy.slow_after or lease
        self._lease = lease
        self._jitter = jitter
        self._changed = changed
        self._calls = RollingCount(policy.window)
        self._failures = RollingCount(policy.window)
        self._slow = RollingCount(policy.window)
        self._generation = 0
        self._state = CLOSED
        self._openings = 0
        self._open_until = 0.0
        self._probes: dict[Permit, float] = {}
        self._passed = 0

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return self._state

    def admit(self, now: float, timeout: float | None = None) -> Permit:
        """A permit for one call, or ``CircuitOpen`` with the seconds until it is worth asking again.

        ``timeout`` is the attempt's, where that is another than the service's.
        """
        slow_after = self._slow_after if self.policy.slow_after or timeout is None else timeout
        if self._state is CLOSED:
            return Permit(self, self._generation, now, slow_after)
        if self._state is OPEN:
            if now < self._open_until:
                raise CircuitOpen(retry_after=self._open_until - now)
            self._change(HALF_OPEN)
        self._probes = {permit: until for permit, until in self._probes.items() if until > now}
        if len(self._probes) + self._passed >= self.policy.half_open_calls:
            raise CircuitOpen(retry_after=self._lease)
        permit = Permit(self, self._generation, now, slow_after)
        self._probes[permit] = now + (self._lease if timeout is None else timeout)
        return permit

    def report(self, permit: Permit, now: float, *, failed: bool) -> None:
        """Take in how a permitted call ended. Called by the permit."""
        if permit.generation != self._generation:
            return
        if self._state is HALF_OPEN:
            self._judge_probe(permit, now, failed=failed)
            return
        slow = now - permit.since >= permit.slow_after
        self._calls.add(now)
        if failed:
            self._failures.add(now)
        if slow:
            self._slow.add(now)
        if (failed or slow) and self._tripped(now):
            self._open(now)

    def dropped(self, permit: Permit) -> None:
        """Give back a place in half-open that brought no verdict. Called by the permit."""
        self._probes.pop(permit, None)

    def _judge_probe(self, permit: Permit, now: float, *, failed: bool) -> None:
        expired = self._probes.pop(permit, 0.0) <= now
        if failed or now - permit.since >= permit.slow_after:
            self._open(now)
            return
        if expired:
            return
        self._passed += 1
        if self._passed >= self.policy.half_open_calls:
            self._openings = 0
            for count in (self._calls, self._failures, self._slow):
                count.clear()
            self._change(CLOSED)

    def _tripped(self, now: float) -> bool:
        calls, policy = self._calls.total(now), self.policy
        if calls < policy.minimum_calls:
            return False
        return (
            self._failures.total(now) >= policy.failure_rate * calls
            or self._slow.total(now) >= policy.slow_rate * calls
        )

    def _open(self, now: float) -> None:
        length = min(self.policy.open_cap, self.policy.open_for * 2.0 ** min(self._openings, 32))
        self._openings += 1
        self._open_until = now + length * (1 + self.policy.jitter * (2 * self._jitter() - 1))
        self._change(OPEN)

    def _change(self, state: str) -> None:
        # Our state first: a listener that raises must not leave the circuit as it was.
        self._state = state
        self._generation += 1
        self._probes.clear()
        self._passed = 0
        act = {CLOSED: self.machine.close, OPEN: self.machine.open, HALF_OPEN: self.machine.half_open}[state]
        with suppress(Exception):
            act()
        if self._changed is not None:
            self._changed(state)
