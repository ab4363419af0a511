"""What a gateway starts before its first request, and ends after its last."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from .auth import Authenticator
from .balance import BalancedWire
from .binding import close_credentials
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
        app.ready = False
        app.access.flush()
        app.lag.stop()
        await app.operations.aclose()
        for upstream in upstreams.values():
            await upstream.wire.aclose()
        await close_credentials(app.clients)
        await cache.aclose()
        await app.last_good.aclose()
        await app.limiter.aclose()
        await app.idempotency.aclose()
        if app.app_life is not None:
            await app.app_life.aclose()
        if app.usage is not None:
            await app.usage.aclose()
        for sync in app.syncs:
            await sync.aclose()
        if mirror is not None:
            await mirror.aclose()
        if auth is not None:
            await auth.aclose()

    return lifespan
