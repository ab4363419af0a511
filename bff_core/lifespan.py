"""What a gateway starts before its first request, and ends after its last."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from .auth import Authenticator
from .balance import BalancedWire
from .binding import credentials_of
from .clients import ResponseCache
from .resilience import CircuitMirror, Upstream

if TYPE_CHECKING:
    from .app import Bff

__all__ = ["make_lifespan"]

GC_THRESHOLD = 20_000


def make_lifespan(
    upstreams: dict[str, Upstream],
    cache: ResponseCache,
    mirror: CircuitMirror | None,
    auth: Authenticator | None,
    inner: Any,
) -> Any:
    """The lifespan of a gateway with these parts, around that of its user (``inner``)."""

    @asynccontextmanager
    async def lifespan(app: Bff) -> AsyncIterator[Any]:
        # What is alive now stays: full collections over the framework's own heap were the tail of the latency. What a
        # request leaves behind is mostly freed at once, so that looking for cycles every 700 objects finds nothing.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
        try:
            app.lag.start()
            await app.operations.start()
            for upstream in upstreams.values():
                if isinstance(upstream.wire, BalancedWire):
                    upstream.wire.start()
            if mirror is not None:
                mirror.start()
            if app.app_life is not None:
                app.app_life.start()
            app.ready = True
            if inner is None:
                yield
            else:
                async with inner(app) as state:
                    yield state
        finally:
            app.ready = False
            await _end(app, upstreams, cache, mirror, auth)

    return lifespan


async def _end(
    app: Bff,
    upstreams: dict[str, Upstream],
    cache: ResponseCache,
    mirror: CircuitMirror | None,
    auth: Authenticator | None,
) -> None:
    """Every part ends, started or not, whatever another one raises as it ends; the last of that is raised."""
    parts: list[Any] = [
        app.operations,
        *(upstream.wire for upstream in upstreams.values()),
        *credentials_of(app.clients),
    ]
    parts += [cache, app.last_good, app.limiter, app.idempotency, app.app_life, app.usage, *app.syncs, mirror, auth]
    async with AsyncExitStack() as stack:
        for part in reversed(parts):  # the last that is put there ends first
            if part is not None:
                stack.push_async_callback(part.aclose)
        stack.callback(app.lag.stop)
        stack.callback(app.access.flush)
