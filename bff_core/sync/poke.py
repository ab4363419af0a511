"""Pokes: "pull now", without a word of what changed. Server-sent events for who is connected, a hook for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from starlette.types import Receive, Send

from ..context import Principal
from ..disconnect import client_left
from ..errors import Problem

__all__ = ["Pokes"]

Who = tuple[str, str | None, str, str | None]
log = structlog.get_logger("bff.sync")
MOST_LISTENERS = 10
HEARTBEAT = 25.0
LIFETIME = 600.0


class Pokes:
    """Who listens in this process. ``hook`` is called with the principal of every poke: to tell the other replicas, or
    a push provider; it should be quick."""

    def __init__(self, hook: Callable[[Principal], None] | None = None) -> None:
        self._hook = hook
        self._listeners: dict[Who, set[asyncio.Event]] = {}
        self._closed = False

    def poke(self, principal: Principal) -> None:
        """Tell all clients of ``principal`` to pull now."""
        self.wake(principal)
        if self._hook is not None:
            try:
                self._hook(principal)
            except Exception:
                log.exception("sync.poke")

    def wake(self, principal: Principal) -> None:
        """Tell the clients that are connected to this process: what a replica does that hears of a poke elsewhere."""
        for event in self._listeners.get(_who(principal), ()):
            event.set()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        for events in self._listeners.values():
            for event in events:
                event.set()

    async def stream(self, principal: Principal, receive: Receive, send: Send) -> None:
        """Serve ``text/event-stream`` until the client leaves, at most ten minutes (it comes back by itself). Raises a
        429 problem when the principal has ten streams already."""
        who, event = _who(principal), asyncio.Event()
        listeners = self._listeners.setdefault(who, set())
        if len(listeners) >= MOST_LISTENERS:
            raise Problem(429, f"There are {MOST_LISTENERS} streams open already.", headers={"retry-after": "60"})
        listeners.add(event)
        gone = asyncio.get_running_loop().create_task(_gone(receive, event))
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"retry: 5000\n\n", "more_body": True})
            try:
                async with asyncio.timeout(LIFETIME):
                    while not (self._closed or gone.done()):
                        await self._next(event, gone, send)
            except TimeoutError:
                pass
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            listeners.discard(event)
            if not listeners:
                self._listeners.pop(who, None)

    async def _next(self, event: asyncio.Event, gone: asyncio.Task[None], send: Send) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await event.wait()
        except TimeoutError:
            body = b": \n\n"
        else:
            if self._closed or gone.done():
                return
            event.clear()
            body = b"event: poke\ndata:\n\n"
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _who(principal: Principal) -> Who:
    return principal.kind, principal.issuer, principal.subject, principal.tenant


async def _gone(receive: Receive, event: asyncio.Event) -> None:
    await client_left(receive)
    event.set()
