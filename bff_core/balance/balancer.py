"""Which endpoint gets the next call: power of two choices (Mitzenmacher) over weights and loads."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .endpoint import Endpoint

__all__ = ["Balancer"]


class Balancer:
    """Pure but for ``rng``. At most ``most`` of the endpoints (a fraction) are ejected at one time."""

    __slots__ = ("_most", "_rng", "endpoints")

    def __init__(self, endpoints: Sequence[Endpoint], *, most: float = 0.5, rng: random.Random | None = None) -> None:
        self.endpoints = list(endpoints)
        self._most = most
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing

    def pick(self, now: float) -> Endpoint:
        """The endpoint for the next call: two are drawn by weight, the less loaded one is taken."""
        endpoints = self.endpoints
        if len(endpoints) == 1:
            return endpoints[0]
        able = [endpoint for endpoint in endpoints if endpoint.available(now)]
        # With nobody able, asking any is better than asking nobody.
        able = [endpoint for endpoint in able if not endpoint.suspect(now)] or able or endpoints
        first, second = self._rng.choices(able, [endpoint.weight(now) for endpoint in able], k=2)
        return second if second.load(now) < first.load(now) else first

    def failed(self, endpoint: Endpoint, now: float, latency: float) -> bool:
        """A call to ``endpoint`` failed; true when that ejected it."""
        if not endpoint.failed(now, latency) or now < endpoint.ejected_until:
            return False
        ejected = sum(now < other.ejected_until for other in self.endpoints)
        if ejected + 1 > self._most * len(self.endpoints):
            return False
        endpoint.eject(now)
        return True

    def replace(self, endpoints: Sequence[Endpoint]) -> list[Endpoint]:
        """Go on with these; gives those that are no longer among them."""
        gone = [endpoint for endpoint in self.endpoints if endpoint not in endpoints]
        self.endpoints = list(endpoints)
        return gone
