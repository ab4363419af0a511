"""What follows from an attempt: done, again later, never again. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .connector import Outcome

__all__ = ["SCHEDULE", "Verdict", "decide"]

SCHEDULE = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds from one attempt to the next: those that Standard Webhooks recommends, three days in all."""

SPREAD = 0.1
LONGEST_WISH = 86_400.0
GONE = 410
THROTTLED = frozenset({429, 502, 504})
SHORTEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """``wait`` is how many seconds a ``pending`` delivery waits for its next attempt; ``pause`` how many the whole
    endpoint is left alone; ``gone``: it wants nothing any more."""

    state: Literal["delivered", "pending", "dead"]
    wait: float = 0.0
    pause: float = 0.0
    gone: bool = False


def decide(outcome: Outcome, step: int, schedule: Sequence[float], luck: float) -> Verdict:
    """What follows from ``outcome`` for a delivery that has failed ``step`` times before, ``luck`` being random in
    [0, 1): a wait is its schedule's, 10 % more or less, and never less than what ``Retry-After`` asks for (a day at the
    most). 429, 502 and 504, and any other refusal that names a time, leave the endpoint alone for as long."""
    if outcome.ok:
        return Verdict("delivered")
    if outcome.status == GONE:
        return Verdict("dead", gone=True)
    wish = min(outcome.retry_after or 0.0, LONGEST_WISH)
    pause = max(wish, SHORTEST_PAUSE) if outcome.status in THROTTLED else wish
    if step >= len(schedule):
        return Verdict("dead", pause=pause)
    return Verdict("pending", max(schedule[step] * (1 + SPREAD * (2 * luck - 1)), wish), pause)
