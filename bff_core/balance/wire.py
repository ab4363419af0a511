"""One wire over many endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Callable
from http import HTTPStatus

from ..errors import CallTimeout, ServiceError
from ..policy import Policy
from ..targets import Target
from ..telemetry import Event, Events
from ..wire import Done, Exchange, Streamed, Wire, WireResponse
from .balancer import Balancer
from .endpoint import Endpoint
from .health import check_health
from .resolve import resolve_addresses
from .stream import BalancedStream

__all__ = ["BalancedWire", "MakeWire"]

MakeWire = Callable[[str, str | None], Wire]
"""A wire to an origin, and the authority (``name:port``) to speak to it when that is another than the origin's."""


class BalancedWire:
    """Sends each request to one of a service's endpoints. ``start`` begins to look up names and to check health."""

    def __init__(
        self, service: str, targets: tuple[Target, ...], policy: Policy, make_wire: MakeWire, events: Events
    ) -> None:
        self._service = service
        self._targets = targets
        self._policy = policy
        self._make_wire = make_wire
        self._events = events
        self._tasks: list[asyncio.Task[None]] = []
        self._gone: list[Endpoint] = []
        self._leaving: set[asyncio.Task[None]] = set()
        first = [self._endpoint(target.origin, target, None) for target in targets]
        self.balancer = Balancer(first, most=policy.outlier.most)

    @property
    def in_flight(self) -> int:
        """Of all endpoints together."""
        return sum(endpoint.wire.in_flight for endpoint in self.balancer.endpoints)

    def send(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        timeout: float,
        done: Done,
        *,
        repeatable: bool = True,
        hurried: bool = False,
    ) -> Exchange:
        """See ``Wire.send``."""
        endpoint = self.balancer.pick(time.monotonic())
        exchange = _Balanced(self, endpoint, done, hurried=hurried)
        exchange.inner = endpoint.wire.send(
            method, target, headers, body, timeout, exchange.ended, repeatable=repeatable
        )
        endpoint.started()
        return exchange

    def stream(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        *,
        length: int | None = None,
        idle: float | None = None,
        hurried: bool = False,
    ) -> Streamed:
        """See ``Wire.stream``."""
        endpoint = self.balancer.pick(time.monotonic())
        inner = endpoint.wire.stream(method, target, headers, body, timeout, length=length, idle=idle)
        return BalancedStream(endpoint, inner, self.failed, hurried=hurried)

    def start(self) -> None:
        """Begin what goes on in the background, on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks += [loop.create_task(self._resolve(target)) for target in self._targets if target.resolve]
        if self._policy.health.path is not None:
            self._tasks.append(loop.create_task(check_health(self.balancer, self._policy.health)))

    async def aclose(self) -> None:
        """Close the wires to all endpoints."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._leaving, return_exceptions=True)
        await asyncio.gather(*(endpoint.wire.aclose() for endpoint in [*self.balancer.endpoints, *self._gone]))

    def failed(self, endpoint: Endpoint, now: float, latency: float) -> None:
        """Take note of a failed call."""
        if self.balancer.failed(endpoint, now, latency):
            detail = f"{endpoint.origin} for {endpoint.ejected_until - now:.0f} s"
            self._events.emit(Event("OnEjected", "warning", self._service, "OutlierEjection", detail=detail))

    def _endpoint(self, origin: str, target: Target, authority: str | None, now: float = float("-inf")) -> Endpoint:
        return Endpoint(
            origin,
            self._make_wire(origin, authority),
            weight=target.weight,
            policy=self._policy.outlier,
            slow_start=self._policy.slow_start,
            now=now,
        )

    def _part(self) -> None:
        """Close the wires to endpoints that are no longer there, once nobody uses them: one that leaves its name first
        ends what it has begun. Calls end by their timeouts at the latest."""
        idle = [endpoint for endpoint in self._gone if not endpoint.wire.in_flight]
        for endpoint in idle:
            self._gone.remove(endpoint)
            leaving = asyncio.get_running_loop().create_task(endpoint.wire.aclose())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _resolve(self, target: Target) -> None:
        """Keep the endpoints of one name up to date; what cannot be looked up stays as it is."""
        mine = [endpoint for endpoint in self.balancer.endpoints if endpoint.origin == target.origin]
        while True:
            origins = await resolve_addresses(target.origin)
            if origins:
                known = {endpoint.origin: endpoint for endpoint in mine}
                now = time.monotonic() if target.origin not in known else float("-inf")
                authority = target.origin.partition("://")[2]
                fresh = [known.get(origin) or self._endpoint(origin, target, authority, now) for origin in origins]
                others = [endpoint for endpoint in self.balancer.endpoints if endpoint not in mine]
                self._gone += self.balancer.replace([*others, *fresh])
                mine = fresh
            self._part()
            await asyncio.sleep(target.resolve or 0)


class _Balanced:
    """An exchange with one endpoint, and what it says about it."""

    __slots__ = ("_done", "_endpoint", "_hurried", "_started", "_wire", "inner")

    def __init__(self, wire: BalancedWire, endpoint: Endpoint, done: Done, *, hurried: bool) -> None:
        self._hurried = hurried
        self._wire = wire
        self._endpoint = endpoint
        self._done: Done | None = done
        self._started = time.monotonic()
        self.inner: Exchange | None = None

    def abandon(self) -> None:
        """See ``Exchange.abandon``."""
        done, self._done = self._done, None
        if done is not None and self.inner is not None:
            self._endpoint.dropped()
            self.inner.abandon()

    def ended(self, response: WireResponse | None, error: ServiceError | None) -> None:
        """Told by the endpoint's wire."""
        done, self._done = self._done, None
        if done is None:
            return
        now = time.monotonic()
        if self._hurried and isinstance(error, CallTimeout):
            self._endpoint.dropped()
        elif response is None or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._wire.failed(self._endpoint, now, now - self._started)
        else:
            self._endpoint.succeeded(now, now - self._started)
        done(response, error)
