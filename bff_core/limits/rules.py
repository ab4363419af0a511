"""What a limit decides and what it remembers. Pure: instants and spans are whole microseconds, the clock is given.

A rule takes a call: it is told what it remembered last time (None if nothing) and answers with a verdict. The same
rules decide for the local memory and for SQL; the script in ``valkey.py`` is their twin.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, NamedTuple, Protocol

from .calendar import Period, calendar_window

__all__ = ["CalendarQuota", "Concurrency", "Decision", "Gcra", "Rule", "Verdict", "settle"]

SECOND = 1_000_000


class Verdict(NamedTuple):
    """What one rule says of one call. ``state`` is to be remembered if the call is let in by all rules; of a rule that
    refuses, in any case. ``reset``: how long until the limit is whole again, of a refusal until the next call can be
    let in; None if nobody can tell."""

    allowed: bool
    state: Any
    remaining: int
    reset: int | None
    retry_after: int


class Rule(Protocol):
    """One limit's arithmetic."""

    tag: str
    """Goes into the keys: rules of other tags remember things of another kind."""

    def take(self, state: Any, now: int, lease: str) -> Verdict:
        """Decide on one more call; ``lease`` identifies it."""

    def give_back(self, state: Any, lease: str) -> Any:
        """What to remember when that call shall not have been, or has ended."""

    def until(self, state: Any) -> int:
        """From when on ``state`` says no more than None would."""


class Gcra:
    """Rate limit by the generic cell rate algorithm (ITU-T I.371, virtual scheduling): ``count`` calls in ``period``,
    evenly, and ``burst`` of them at once. It remembers the theoretical arrival time.

    In every span of time ``t`` at most ``burst + count · t / period`` calls are let in.
    """

    __slots__ = ("interval", "span", "tag")

    def __init__(self, count: int, period: int, burst: int) -> None:
        self.interval = -(-period // count)
        self.span = self.interval * burst
        self.tag = "rate"

    def take(self, state: int | None, now: int, lease: str) -> Verdict:  # noqa: ARG002 - the protocol's
        """Decide on one more call."""
        full = now + self.span
        # More than full it is only after the clock went back, or with what a slower plan remembered.
        arrival = now if state is None or state < now else min(state, full)
        after = arrival + self.interval
        if after > full:
            return Verdict(False, arrival, 0, after - full, after - full)
        return Verdict(True, after, (full - after) // self.interval, after - now, 0)

    def give_back(self, state: int, lease: str) -> int:  # noqa: ARG002
        """One call less."""
        return state - self.interval

    def until(self, state: int) -> int:
        """When the whole burst is there again."""
        return state


class CalendarQuota:
    """``limit`` calls in each second, minute, hour, day, week or month of a time zone. It remembers when the window
    ends and how many calls there were: until that instant the window holds, whatever the clock does."""

    __slots__ = ("_ends", "_per", "_zone", "limit", "tag")

    def __init__(self, limit: int, per: Period, zone: tzinfo, zone_name: str) -> None:
        self.limit = limit
        self._per: Period = per
        self._zone = zone
        self._ends = (0, 0, 0)
        self.tag = f"{per} {zone_name}"

    def take(self, state: tuple[int, int] | None, now: int, lease: str) -> Verdict:  # noqa: ARG002 - the protocol's
        """Decide on one more call."""
        end, used = state if state is not None and now < state[0] else (self.ends(now)[1], 0)
        left = end - now
        if used >= self.limit:
            return Verdict(False, (end, used), 0, left, left)
        return Verdict(True, (end, used + 1), self.limit - used - 1, left, 0)

    def give_back(self, state: tuple[int, int], lease: str) -> tuple[int, int]:  # noqa: ARG002
        """One call less."""
        return state[0], max(0, state[1] - 1)

    def until(self, state: tuple[int, int]) -> int:
        """The window's end."""
        return state[0]

    def ends(self, now: int) -> tuple[int, int, int]:
        """The bounds of the window that holds ``now`` and of the next: start, end, end."""
        if not self._ends[0] <= now < self._ends[1]:
            start, end = calendar_window(now, self._per, self._zone)
            self._ends = (start, end, calendar_window(end, self._per, self._zone)[1])
        return self._ends


class Concurrency:
    """``limit`` calls at the same time. It remembers who is in, and until when at the most: a call whose process died
    leaves after ``lease``."""

    __slots__ = ("lease", "limit", "tag")

    def __init__(self, limit: int, lease: int) -> None:
        self.limit = limit
        self.lease = lease
        self.tag = "concurrency"

    def take(self, state: dict[str, int] | None, now: int, lease: str) -> Verdict:
        """Decide on one more call; one that is in stays, for as long again."""
        inside = {} if state is None else {name: until for name, until in state.items() if until > now}
        if len(inside) >= self.limit and lease not in inside:
            return Verdict(False, inside, 0, None, SECOND)
        inside[lease] = now + self.lease
        return Verdict(True, inside, self.limit - len(inside), None, 0)

    def give_back(self, state: dict[str, int], lease: str) -> dict[str, int]:
        """The call has ended."""
        return {name: until for name, until in state.items() if name != lease}

    def until(self, state: dict[str, int]) -> int:
        """When the last of them has left, at the most."""
        return max(state.values(), default=0)


class Decision(NamedTuple):
    """What all the limits of a call say together. ``policy`` is the strictest limit: of those that refuse, the one that
    does so for longest; else the one with the least remaining. ``reset`` (None if nobody can tell) and ``retry_after``
    are in seconds, rounded up. ``violated`` are all that refuse. ``local`` when this process alone decided, because the
    store could not be asked."""

    allowed: bool
    policy: str
    remaining: int
    reset: int | None
    retry_after: int
    violated: tuple[str, ...] = ()
    local: bool = False


def settle(names: Sequence[str], verdicts: Sequence[Verdict]) -> Decision:
    """The decision on a call from its limits' verdicts, in the order of ``names``."""
    strictest = verdicts[0]
    policy = names[0]
    for name, verdict in zip(names[1:], verdicts[1:], strict=True):
        if _strictness(verdict) > _strictness(strictest):
            policy, strictest = name, verdict
    allowed, _, remaining, reset, retry_after = strictest
    return Decision(
        allowed,
        policy,
        remaining,
        None if reset is None else -(-reset // SECOND),
        -(-retry_after // SECOND),
        () if allowed else tuple(name for name, verdict in zip(names, verdicts, strict=True) if not verdict.allowed),
    )


def _strictness(verdict: Verdict) -> tuple[bool, int, int, int]:
    return not verdict.allowed, verdict.retry_after, -verdict.remaining, verdict.reset or 0
