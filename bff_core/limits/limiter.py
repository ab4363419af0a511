"""A gateway's limits: every declaration in one place, and the one store that they count in."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DeclarationError
from ..telemetry import Events
from .declare import AnyLimit
from .fallback import LimitStore
from .guard import Guard, guard
from .rules import SECOND
from .sql import SqlLimits
from .valkey import ValkeyLimits

__all__ = ["Limiter"]

MEMORY = "memory://"
VALKEY_TIMEOUT = 0.25
SQL_TIMEOUT = 1.0
MARGIN = 30.0


class Limiter:
    """The limits of ``gateway``, counted in the store at ``url``; nothing is opened before there is a limit.

    ``deadline``, in seconds, is how long a request may take: a call that holds a place of a ``ConcurrencyLimit`` and
    whose process dies gives it up half a minute later than that; a stream keeps it for as long as it lives.
    """

    def __init__(self, gateway: str, url: str, deadline: float, events: Events) -> None:
        self.store: LimitStore | None = None
        self._gateway = gateway
        self._url = url
        self._events = events
        self._lease = round((deadline + MARGIN) * SECOND)
        self.declared: dict[str, AnyLimit] = {}

    def guard(self, limits: Sequence[AnyLimit], *, private: bool) -> Guard | None:
        """The guard of a route under ``limits``. Raises ``DeclarationError`` when two of them have one name."""
        if not limits:
            return None
        names = [limit.name for limit in limits]
        for limit in limits:
            if names.count(limit.name) > 1 or self.declared.setdefault(limit.name, limit) != limit:
                raise DeclarationError(f"there are two limits '{limit.name}': they would count in one place")
        if self.store is None:
            self.store = self._open()
        return guard(limits, private=private, store=self.store, events=self._events, lease=self._lease)

    async def aclose(self) -> None:
        """Close the store."""
        if self.store is not None:
            await self.store.aclose()

    def _open(self) -> LimitStore:
        if self._url == MEMORY:
            return LimitStore(None, self._events)
        if self._url.startswith(("sqlite:", "postgresql:")):
            return LimitStore(SqlLimits(self._url, self._gateway), self._events, timeout=SQL_TIMEOUT)
        return LimitStore(ValkeyLimits(self._url, self._gateway), self._events, timeout=VALKEY_TIMEOUT)
