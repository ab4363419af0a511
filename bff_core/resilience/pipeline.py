"""The pipeline of one call, outermost first: deadline, retry, bulkhead, breaker, attempt timeout, wire.

The first attempt runs bare and without a task: it is on its way when ``start`` returns, and the wire's callback ends
it. Only a call that must be retried costs a task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus

from ..errors import (
    RETRYABLE_STATUSES,
    BadResponse,
    BulkheadFull,
    CallTimeout,
    CircuitOpen,
    ServiceError,
    UnexpectedStatus,
)
from ..wire import Exchange, Wire, WireResponse
from .breaker import Breaker, Permit
from .budget import RetryBudget
from .deadline import format_timeout
from .policy import Policy
from .retry import retry
from .retry_after import parse_retry_after

__all__ = ["Call", "Upstream"]

Finished = Callable[["Call"], None]
MINIMUM = 0.001


class Upstream:
    """What the calls to one service share: its wire, breaker, retry budget and policy."""

    __slots__ = ("breaker", "budget", "bulkhead", "name", "policy", "prefix", "timeout", "wire")

    def __init__(self, name: str, wire: Wire, policy: Policy, *, prefix: str = "") -> None:
        self.name = name
        self.wire = wire
        self.policy = policy
        self.prefix = prefix
        self.timeout = policy.timeout
        self.bulkhead = policy.bulkhead
        self.breaker = Breaker(name, policy.breaker, lease=policy.timeout)
        self.budget = RetryBudget(policy.retry.budget, policy.retry.reserve)


class Call:
    """One call of one operation. ``deadline`` is an instant of ``time.monotonic``.

    ``finished`` is called once, when ``response`` or ``error`` is set; never after ``cancel``.
    """

    __slots__ = (
        "_attempt_done",
        "_exchange",
        "_permit",
        "_task",
        "attempts",
        "body",
        "deadline",
        "ended",
        "error",
        "finished",
        "headers",
        "idempotent",
        "method",
        "operation",
        "response",
        "started",
        "target",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        operation: str,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        *,
        idempotent: bool,
        deadline: float,
        finished: Finished,
    ) -> None:
        self.upstream = upstream
        self.operation = operation
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.idempotent = idempotent
        self.deadline = deadline
        self.finished: Finished | None = finished
        self.response: WireResponse | None = None
        self.error: ServiceError | None = None
        self.attempts = 0
        self.started = self.ended = 0.0
        self._exchange: Exchange | None = None
        self._permit: Permit | None = None
        self._task: asyncio.Task[None] | None = None
        self._attempt_done: Callable[[WireResponse | None, ServiceError | None], None] = self._first_done

    def start(self) -> None:
        """Send the first attempt; never waits and never raises."""
        now = self.started = time.monotonic()
        self.upstream.budget.deposit(now)
        try:
            self._send(now)
        except ServiceError as error:
            asyncio.get_running_loop().call_soon(self._end, None, error)

    def cancel(self) -> None:
        """The result is no longer wanted: everything the call holds is given back."""
        self.finished = None
        if self._task is not None:
            self._task.cancel()
        self._release()

    def _release(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.drop()

    def _send(self, now: float) -> None:
        upstream = self.upstream
        timeout = min(upstream.timeout, self.deadline - now)
        if timeout < MINIMUM:
            raise CallTimeout("the deadline has passed")
        if upstream.wire.in_flight >= upstream.bulkhead:
            raise BulkheadFull(f"{upstream.bulkhead} calls in flight")
        self._permit = upstream.breaker.admit(now)
        self.attempts += 1
        headers = self.headers + format_timeout(timeout)
        self._exchange = upstream.wire.send(self.method, self.target, headers, self.body, timeout, self._wire_done)

    def _wire_done(self, response: WireResponse | None, error: ServiceError | None) -> None:
        self._exchange = None
        permit, self._permit = self._permit, None
        now = time.monotonic()
        if response is not None:
            status = response.status
            if status < HTTPStatus.MULTIPLE_CHOICES:
                if permit is not None:
                    permit.success(now)
                self._attempt_done(response, None)
                return
            retry_after = None
            if status in RETRYABLE_STATUSES:
                retry_after = parse_retry_after(response.header(b"retry-after"), time.time())
            error = UnexpectedStatus(status, response.body, retry_after=retry_after)
        if permit is not None:
            if response is None or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                permit.failure(now)
            else:
                permit.drop()
        self._attempt_done(None, error)

    def _first_done(self, response: WireResponse | None, error: ServiceError | None) -> None:
        if error is not None and error.retryable and self.idempotent and self.upstream.policy.retry.attempts > 1:
            self._task = asyncio.get_running_loop().create_task(self._recover(error))
        else:
            self._end(response, error)

    async def _recover(self, first: ServiceError) -> None:
        response: WireResponse | None = None
        error: ServiceError | None = None
        try:
            response = await retry(
                first,
                self._attempt,
                policy=self.upstream.policy.retry,
                budget=self.upstream.budget,
                deadline=self.deadline,
            )
        except CircuitOpen:
            # Opened meanwhile: what the attempts saw says more than that no further one is allowed.
            error = first
        except ServiceError as last:
            error = last
        self._end(response, error)

    async def _attempt(self) -> WireResponse:
        future: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()

        def done(response: WireResponse | None, error: ServiceError | None) -> None:
            if future.done():
                return
            if response is not None:
                future.set_result(response)
            else:
                future.set_exception(error or BadResponse())

        self._attempt_done = done
        self._send(time.monotonic())
        try:
            return await future
        except asyncio.CancelledError:
            self._release()
            raise

    def _end(self, response: WireResponse | None, error: ServiceError | None) -> None:
        self._task = None
        self.ended = time.monotonic()
        self.response = response
        if error is not None:
            error.service, error.operation = self.upstream.name, self.operation
            self.error = error
        finished, self.finished = self.finished, None
        if finished is not None:
            finished(self)
