"""Active health checks."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from ..errors import ServiceError
from ..policy import HealthPolicy
from ..wire import WireResponse
from .balancer import Balancer
from .endpoint import Endpoint

__all__ = ["check_health"]

SPREAD = 0.2


async def check_health(balancer: Balancer, policy: HealthPolicy) -> None:
    """Ask every endpoint for ``policy.path`` again and again, and mark it healthy or not; until cancelled."""
    streaks: Counter[str] = Counter()
    while True:
        endpoints = list(balancer.endpoints)
        answers = await asyncio.gather(*(_ask(endpoint, policy) for endpoint in endpoints))
        for endpoint, good in zip(endpoints, answers, strict=True):
            judge(endpoint, streaks, policy, time.monotonic(), good=good)
        spread = 1 + SPREAD * (2 * random.random() - 1)  # noqa: S311 - replicas should not ask in step
        await asyncio.sleep(policy.interval * spread)


def judge(endpoint: Endpoint, streaks: Counter[str], policy: HealthPolicy, now: float, *, good: bool) -> None:
    """Count answers that differ from what is believed; enough of them in a row change the belief."""
    if good == endpoint.healthy:
        streaks[endpoint.origin] = 0
        return
    streaks[endpoint.origin] += 1
    if streaks[endpoint.origin] >= (policy.healthy if good else policy.unhealthy):
        streaks[endpoint.origin] = 0
        endpoint.checked(now, healthy=good)


async def _ask(endpoint: Endpoint, policy: HealthPolicy) -> bool:
    future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(response: WireResponse | None, _: ServiceError | None) -> None:
        if not future.done():
            future.set_result(response is not None and response.status < 300)  # noqa: PLR2004 - HTTP's 2xx

    exchange = endpoint.wire.send("GET", policy.path or "/", b"", b"", policy.timeout, done)
    try:
        return await future
    except asyncio.CancelledError:
        exchange.abandon()
        raise
