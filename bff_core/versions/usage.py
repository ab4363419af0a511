"""Who uses which version."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..context import Principal

__all__ = ["Usage", "VersionUsage"]

MOST = 10_000
OTHERS = "(others)"
ANYBODY = "(anybody)"


@dataclass(slots=True)
class Usage:
    """How often somebody has used a version, and when last (Unix time)."""

    count: int = 0
    last: float = 0.0


class VersionUsage:
    """Counts per version and client (tenant, else subject) since the start, in this process; beyond 10,000 pairs
    clients are counted together."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._found: dict[tuple[str, str], Usage] = {}

    def count(self, version: str, principal: Principal | None) -> None:
        """One request."""
        who = ANYBODY if principal is None else principal.tenant or principal.subject
        usage = self._found.get((version, who))
        if usage is None:
            key = (version, who) if len(self._found) < MOST else (version, OTHERS)
            usage = self._found.setdefault(key, Usage())
        usage.count += 1
        usage.last = self._clock()

    def snapshot(self) -> dict[tuple[str, str], tuple[int, float]]:
        """By version and client: the count, and the Unix time of the last one."""
        return {key: (usage.count, usage.last) for key, usage in self._found.items()}

    def of(self, version: str) -> dict[str, Usage]:
        """The clients of a version, the busiest first."""
        found = {who: usage for (name, who), usage in self._found.items() if name == version}
        return dict(sorted(found.items(), key=lambda item: -item[1].count))
