"""Where limits count: what every store of them does, and the one in this process's memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from .rules import Decision, Rule, settle

__all__ = ["Key", "Limit", "MemoryLimits", "SharedLimits", "digest", "wall_clock"]

Key = tuple[str, ...]
"""Whose calls are counted together: the limit's name, its rule's tag, and the values of the parts of its key."""

MOST = 100_000


class Limit(NamedTuple):
    """A limit in force."""

    name: str
    rule: Rule
    fails_closed: bool = False


class SharedLimits(Protocol):
    """A store that several processes count in, by its own clock. Every method raises whatever goes wrong."""

    async def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        """Decide on one call under all ``limits``, each for its key; if one refuses, none counts it. ``lease`` is
        another for every call; the same again, under nothing but concurrency limits, keeps the place it has."""

    async def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        """The call of that ``lease`` shall not have been, or has ended."""

    async def aclose(self) -> None:
        """Let go of the connections."""


def wall_clock() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


def digest(key: Key) -> str:
    """A name for ``key`` without any of its text: 32 hexadecimal digits."""
    text = "".join(f"{len(part)}:{part}" for part in key)
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


class MemoryLimits:
    """Counts in this process alone, at most ``most`` keys; beyond that the oldest are forgotten. Nothing here waits."""

    def __init__(self, *, clock: Callable[[], int] = wall_clock, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._states: OrderedDict[Key, tuple[Rule, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        """As ``SharedLimits.take``, at once."""
        now = self._clock()
        states = self._states
        verdicts = []
        for limit, key in zip(limits, keys, strict=True):
            held = states.get(key)
            verdicts.append(limit.rule.take(None if held is None else held[1], now, lease))
        decision = settle([limit.name for limit in limits], verdicts)
        for limit, key, verdict in zip(limits, keys, verdicts, strict=True):
            if decision.allowed or (not verdict.allowed and key in states):
                if key not in states:
                    self._make_room(now)
                states[key] = (limit.rule, verdict.state)
        return decision

    def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        """As ``SharedLimits.give_back``, at once."""
        for limit, key in zip(limits, keys, strict=True):
            held = self._states.get(key)
            if held is not None:
                self._states[key] = (limit.rule, limit.rule.give_back(held[1], lease))

    def _make_room(self, now: int) -> None:
        # Two of the oldest are looked at for each new one, so what is over goes as fast as new comes, with no sweep.
        for _ in range(min(2, len(self._states))):
            key, (rule, state) = self._states.popitem(last=False)
            if rule.until(state) > now:
                self._states[key] = (rule, state)
        if len(self._states) >= self._most:
            self._states.popitem(last=False)
