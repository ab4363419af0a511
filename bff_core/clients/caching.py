"""The response cache of a gateway: what services answered to GETs, as far as they allow it to be used again."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from ..cache import REASONS, MemoryStore, Stored, ValkeyStore, refreshed, store
from ..context import Principal
from ..wire import WireResponse, header_names

__all__ = ["ResponseCache"]

NOT_MODIFIED = 304
MOST_CHANGED = 1024
_REASONS = header_names(*REASONS)


class ResponseCache:
    """A store in memory, and one that replicas share if there is a ``remote``.

    What is asked for a principal is kept for that principal alone, as in a private cache (RFC 9111 section 1); what
    is asked for nobody in particular is kept as in a shared one. What ``changed`` is forgotten, whosever it is, here
    and in the shared store, also what is asked for before and comes after; what other replicas have in memory is not.
    """

    def __init__(self, max_bytes: int, remote: ValkeyStore | None = None) -> None:
        self.memory = MemoryStore(max_bytes)
        self.remote = remote
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed: OrderedDict[bytes, float] = OrderedDict()
        self._floor = 0.0  # the latest of those that are left out of it for space
        self._forgetting: dict[bytes, asyncio.Task[None]] = {}  # what the shared store has not been told yet

    @staticmethod
    def key(service: str, target: str, headers: bytes, principal: Principal | None) -> bytes:
        """The key of a request: all that could change its answer, and whose it is."""
        whose = principal.whose if principal is not None else b""
        return b"%b\n%b\n%b\n%b" % (service.encode(), target.encode(), whose, headers)

    def changed(self, service: str, target: str) -> None:
        """An unsafe request for ``target`` was answered: what is known of it is no more (RFC 9111 section 4.4), nor
        what was asked for before."""
        changed = _target_of(self.key(service, target, b"", None))
        self._changed[changed] = time.time()
        self._changed.move_to_end(changed)
        if len(self._changed) > MOST_CHANGED:
            self._floor = max(self._floor, self._changed.popitem(last=False)[1])
        self.memory.forget(changed)
        if self.remote is not None:
            self._tell(self.remote, changed)

    def recall(self, key: bytes, done: Callable[[Stored | None], None]) -> asyncio.Task[None]:
        """Look in the shared store; the task can be cancelled."""

        async def look() -> None:
            began, target, stored = time.time(), _target_of(key), None
            if self.remote is not None and await self._told(self.remote, target):
                stored = await self.remote.get(key, target)
            if stored is not None and self._is_outdated(key, began):
                stored = None
            if stored is not None:
                self.memory.put(key, stored, target)
            done(stored)

        return self._spawn(look())

    def absorb(
        self,
        key: bytes,
        stored: Stored | None,
        headers: Callable[[], list[tuple[bytes, bytes]]],
        response: WireResponse,
        asked_at: float,
        *,
        shared: bool,
    ) -> tuple[WireResponse | None, Stored | None]:
        """Take in an answer to a request with these ``headers`` (called only if they matter), sent at ``asked_at``
        (Unix time), conditional on ``stored``. Gives what the caller is to see (None for a 304 about something that is
        not there), and what is kept of it."""
        if stored is None and response.status != NOT_MODIFIED and not response.has_any(_REASONS):
            return response, None
        now = time.time()
        request = headers()
        times = {"now": now, "requested_at": asked_at}
        if response.status != NOT_MODIFIED:
            new = store(
                request,
                response.status,
                response.headers,
                response.body,
                **times,
                shared=shared,
                authenticated=not shared,
            )
            self._keep(key, new, now, asked_at)
            return response, new
        if stored is None:
            return None, None
        new = refreshed(stored, request, response.headers, **times, shared=shared, authenticated=not shared)
        self._keep(key, new, now, asked_at)
        return (None if new is None else WireResponse(new.status, list(new.headers), new.body)), new

    def _is_outdated(self, key: bytes, since: float) -> bool:
        return bool(self._changed) and since <= max(self._floor, self._changed.get(_target_of(key), 0.0))

    def _tell(self, remote: ValkeyStore, target: bytes) -> asyncio.Task[None]:
        """Have the shared store forget ``target``."""

        async def forget() -> None:
            if await remote.forget(target) and self._forgetting.get(target) is task:
                del self._forgetting[target]

        task = self._spawn(forget())
        self._forgetting.pop(target, None)
        self._forgetting[target] = task
        if len(self._forgetting) > MOST_CHANGED:  # with a store that has been away: it is not told of the oldest
            del self._forgetting[next(iter(self._forgetting))]
        return task

    async def _told(self, remote: ValkeyStore, target: bytes) -> bool:
        """Whether the shared store has forgotten what was to be; waits for that, and tries once more if it failed."""
        task = self._forgetting.get(target)
        if task is not None:
            await asyncio.shield(self._tell(remote, target) if task.done() else task)
        return target not in self._forgetting

    def _keep(self, key: bytes, stored: Stored | None, now: float, asked_at: float) -> None:
        remote = self.remote
        if stored is None:
            self.memory.delete(key)
            if remote is not None:
                self._spawn(remote.delete(key))
            return
        if self._is_outdated(key, asked_at):
            return
        target = _target_of(key)
        self.memory.put(key, stored, target)
        if remote is not None:
            useful = stored.stored_at + stored.lifetime - now + max(stored.swr, stored.sie, 60.0)
            self._spawn(remote.put(key, stored, useful, target, time.monotonic() - (now - asked_at)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Let go of the shared store."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self.remote is not None:
            await self.remote.aclose()


def _target_of(key: bytes) -> bytes:
    """Service and target of a key: what all principals' entries of one URI have in common."""
    return key[: key.index(b"\n", key.index(b"\n") + 1) + 1]
