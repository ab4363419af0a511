"""The response cache of a gateway: what services answered to GETs, as far as they allow it to be used again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..cache import REASONS, Changes, MemoryStore, SharedStore, Stored, ValkeyStore, refreshed, store, validates
from ..context import Principal
from ..errors import BulkheadFull, CircuitOpen, ConnectFailed, ServiceError, UnexpectedStatus
from ..wire import WireResponse, header_names

__all__ = ["ResponseCache", "has_changed_nothing"]

NOT_MODIFIED = 304
REFUSED = frozenset(range(400, 500)) - {404, 408, 409, 410, 412}
"""Statuses of what was not done. Of the others one may be the answer to a second copy of what was: the wire sends an
idempotent request again when a kept connection ends without an answer."""
_REASONS = header_names(*REASONS)


class ResponseCache:
    """A store in memory, and one that replicas share if there is a ``remote``.

    What is asked for a principal is kept for that principal alone, as in a private cache (RFC 9111 section 1); what
    is asked for nobody in particular is kept as in a shared one. What ``changed`` is forgotten, whosever it is, here
    and in the shared store, also what is asked for before and comes after; what other replicas have in memory is not.
    """

    def __init__(self, max_bytes: int, remote: ValkeyStore | None = None) -> None:
        self.memory = MemoryStore(max_bytes)
        self.remote = None if remote is None else SharedStore(remote)
        self._changes = Changes()

    @staticmethod
    def key(service: str, target: str, headers: bytes, principal: Principal | None) -> bytes:
        """The key of a request: all that could change its answer, and whose it is."""
        whose = principal.whose if principal is not None else b""
        return b"%b\n%b\n%b\n%b" % (service.encode(), target.encode(), whose, headers)

    def changed(self, service: str, target: str) -> None:
        """An unsafe request for ``target`` has ended, see ``has_changed_nothing``: what is known of it is no more (RFC
        9111 section 4.4), nor what was asked for before."""
        changed = _target_of(self.key(service, target, b"", None))
        self._changes.note(changed, time.monotonic())
        self.memory.forget(changed)
        if self.remote is not None:
            self.remote.forget(changed)

    def recall(self, remote: SharedStore, key: bytes, done: Callable[[Stored | None], None]) -> asyncio.Task[None]:
        """Look in the shared store; the task can be cancelled."""

        async def look() -> None:
            began, target = time.monotonic(), _target_of(key)
            stored = await remote.get(key, target)
            if stored is not None and self._changes.since(target, began):
                stored = None
            if stored is not None:
                self.memory.put(key, stored, target)
            done(stored)

        return remote.start(look())

    def absorb(
        self,
        key: bytes,
        stored: Stored | None,
        headers: Callable[[], list[tuple[bytes, bytes]]],
        response: WireResponse,
        asked: float,
        *,
        shared: bool,
    ) -> tuple[WireResponse | None, Stored | None]:
        """Take in an answer to a request with these ``headers`` (called only if they matter), sent at ``asked`` (an
        instant of ``time.monotonic``), conditional on ``stored``. Gives what the caller is to see (None for a 304 about
        something that is not there: ask again without conditions), and what is kept of it."""
        if stored is None and response.status != NOT_MODIFIED and not response.has_any(_REASONS):
            return response, None
        now = time.time()
        request = headers()
        times = {"now": now, "requested_at": now - (time.monotonic() - asked)}
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
            self._keep(key, new, now, asked)
            return response, new
        if stored is None:
            return None, None
        new = refreshed(stored, request, response.headers, **times, shared=shared, authenticated=not shared)
        self._keep(key, new, now, asked)
        seen = stored if new is None and validates(stored, response.headers) else new
        return (None if seen is None else WireResponse(seen.status, list(seen.headers), seen.body)), new

    def _keep(self, key: bytes, stored: Stored | None, now: float, asked: float) -> None:
        if stored is None:
            self.memory.delete(key)
            if self.remote is not None:
                self.remote.delete(key)
            return
        target = _target_of(key)
        if self._changes.since(target, asked):
            return
        self.memory.put(key, stored, target)
        if self.remote is not None:
            useful = stored.stored_at + stored.lifetime - now + max(stored.swr, stored.sie, 60.0)
            self.remote.put(key, stored, useful, target, asked)

    async def aclose(self) -> None:
        """Let go of the shared store."""
        if self.remote is not None:
            await self.remote.aclose()


def has_changed_nothing(sent: int, error: ServiceError | None) -> bool:
    """Whether that is certain of a call that was sent so many times and ended so: it was refused, or never got there.
    What failed in any other way may have been done, and so may an earlier attempt than the one that was refused."""
    if sent > 1:
        return False
    if isinstance(error, UnexpectedStatus):
        return error.status in REFUSED
    return not sent or isinstance(error, (ConnectFailed, CircuitOpen, BulkheadFull))


def _target_of(key: bytes) -> bytes:
    """Service and target of a key: what all principals' entries of one URI have in common."""
    return key[: key.index(b"\n", key.index(b"\n") + 1) + 1]
