"""Limits when the store that is shared cannot be asked: this process goes on alone, or says that it cannot tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from ..errors import Problem
from ..telemetry import Event, Events
from .rules import Decision
from .store import Key, Limit, MemoryLimits, SharedLimits

__all__ = ["LimitStore"]

log = structlog.get_logger("bff.limits")
PAUSE = 1.0  # seconds without asking after a failure


class LimitStore:
    """Where a gateway counts: in ``memory``, or in ``shared`` if there is one.

    A call waits for the shared store ``timeout`` seconds at most. After a failure the store is left alone for a second;
    then one call tries, and the others follow if that went well. Meanwhile calls under a limit that fails closed are
    answered 503, the others are counted in this process. ``down`` says so, as do the events ``OnStoreLost`` and
    ``OnStoreBack`` and one line in the log for each.
    """

    def __init__(
        self,
        shared: SharedLimits | None,
        events: Events,
        *,
        timeout: float = 0.25,
        memory: MemoryLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.memory = memory or MemoryLimits()
        self.down = False
        self._shared = shared
        self._events = events
        self._timeout = timeout
        self._clock = clock
        self._retry_at = 0.0
        self._ending: set[asyncio.Task[None]] = set()

    def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision | Awaitable[Decision]:
        """The decision on one call; at once, or when the shared store has answered. Raises a 503 problem for a limit
        that fails closed."""
        if self._shared is None:
            return self.memory.take(limits, keys, lease)
        if self.down:
            now = self._clock()
            if now < self._retry_at:
                return self._alone(limits, keys, lease)
            self._retry_at = now + PAUSE  # this call tries, the others go on as before until it has succeeded
        return self._ask(self._shared, limits, keys, lease)

    def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str, *, local: bool) -> None:
        """The call shall not have been, or has ended; ``local`` is that of its decision. Nobody waits for it: what the
        shared store does not hear of ends by itself."""
        if not keys:
            return
        if self._shared is None or local:
            self.memory.give_back(limits, keys, lease)
        elif not self.down:
            self._start(self._tell(self._shared.give_back(limits, keys, lease)))

    def renew(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str, *, local: bool) -> None:
        """The call of that ``lease``, under these concurrency limits, goes on. Nobody waits for it."""
        if self._shared is None or local:
            self.memory.take(limits, keys, lease)
        elif not self.down:
            self._start(self._tell(self._shared.take(limits, keys, lease)))

    async def aclose(self) -> None:
        """Let go of the shared store."""
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._shared is not None:
            with suppress(Exception):
                await self._shared.aclose()

    async def _ask(self, shared: SharedLimits, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        try:
            async with asyncio.timeout(self._timeout):
                decision = await shared.take(limits, keys, lease)
        except Exception as error:  # noqa: BLE001 - the stores' clients raise errors of several libraries
            self._failed(error)
            return self._alone(limits, keys, lease)
        if self.down:
            self.down = False
            self._changed("OnStoreBack", "information", "")
        return decision

    def _alone(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        if any(limit.fails_closed for limit in limits):
            raise Problem(
                503,
                "Whether this is within its limits cannot be told now; try again soon.",
                headers={"retry-after": "1"},
            )
        return self.memory.take(limits, keys, lease)._replace(local=True)

    async def _tell(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await work
        except Exception as error:  # noqa: BLE001 - the stores' clients raise errors of several libraries
            self._failed(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _failed(self, error: Exception) -> None:
        self._retry_at = self._clock() + PAUSE
        if not self.down:
            self.down = True
            # What a client library says may contain the store's URL, and that a password.
            self._changed("OnStoreLost", "error", type(error).__name__)

    def _changed(self, name: str, severity: Any, detail: str) -> None:
        log.warning("limits_store", change=name, error=detail)
        self._events.emit(Event(name, severity, "limits", "RateLimiter", detail=detail))
