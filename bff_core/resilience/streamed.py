"""The pipeline of an exchange whose bodies pass through: retry, bulkhead, breaker and attempt timeout as in ``Call``,
up to the head of the answer. From there on nothing can be taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import BulkheadFull, CallTimeout, CircuitOpen, ServiceError
from ..wire import Streamed
from .retry import retry
from .upstream import CallPolicy, Upstream

__all__ = ["Begin", "open_stream", "report_broken"]

MINIMUM = 0.001

Begin = Callable[[float, bool], Streamed]
"""A new exchange, not entered yet, for an attempt of so many seconds; whether ``hurried`` (``Wire.send``)."""


async def open_stream(
    upstream: Upstream, policy: CallPolicy, begin: Begin, deadline: float, *, repeatable: bool
) -> Streamed:
    """The entered exchange, whatever its status; the caller closes it. Raises ``ServiceError``, or what the request's
    body raised.

    ``deadline`` (an instant of ``time.monotonic``) is for the head of the answer. A ``repeatable`` request is sent
    again, within policy and budget, when no answer came; an answer of any status is one.
    """
    upstream.budget.deposit(time.monotonic())
    try:
        return await _attempt(upstream, policy, begin, deadline, 0)
    except ServiceError as error:
        if not (repeatable and policy.idempotent and error.retryable and policy.retry.attempts > 1):
            raise _named(error, upstream, policy) from None
        first = error
    number = 0

    async def attempt() -> Streamed:
        nonlocal number
        number += 1
        return await _attempt(upstream, policy, begin, deadline, number)

    def tell(attempt: int, wait: float) -> None:
        upstream.emit("OnRetry", "warning", "Retry", policy.name, attempt, f"waits {wait * 1000:.0f} ms")

    try:
        return await retry(
            first, attempt, policy=policy.retry, budget=upstream.budget, deadline=deadline, on_retry=tell
        )
    except (BulkheadFull, CircuitOpen):
        # Full or opened meanwhile: what the attempts saw says more than that no further one is allowed.
        raise _named(first, upstream, policy) from None
    except ServiceError as last:
        raise _named(last, upstream, policy) from None


def report_broken(upstream: Upstream, policy: CallPolicy, error: ServiceError) -> None:
    """An answer broke off after its head, for which the breaker had taken it for a success: that counts against the
    service as well. Silence in the middle does not, a stream may have nothing to say."""
    _named(error, upstream, policy)
    if isinstance(error, CallTimeout):
        upstream.emit("OnTimeout", "error", "Timeout", policy.name, detail=error.detail)
        return
    now = time.monotonic()
    with suppress(CircuitOpen):
        upstream.breaker.admit(now).failure(now)


async def _attempt(upstream: Upstream, policy: CallPolicy, begin: Begin, deadline: float, number: int) -> Streamed:
    now = time.monotonic()
    timeout = min(policy.timeout, deadline - now)
    hurried = timeout < policy.timeout
    if timeout < MINIMUM:
        raise CallTimeout("the deadline has passed")
    if upstream.waiting:
        upstream.advance()
    if upstream.waiting or upstream.wire.in_flight >= upstream.limit:
        upstream.emit("OnBulkheadRejected", "error", "Bulkhead", policy.name, number)
        raise BulkheadFull(f"{upstream.limit} calls in flight")
    try:
        permit = upstream.breaker.admit(now, policy.timeout)
    except CircuitOpen:
        upstream.emit("OnCircuitRejected", "error", "CircuitBreaker", policy.name, number)
        raise
    try:
        stream = begin(timeout, hurried)
        await stream.__aenter__()
    except ServiceError as error:
        late = isinstance(error, CallTimeout)
        if late:
            _measure(upstream, time.monotonic() - now)
            upstream.emit("OnTimeout", "error", "Timeout", policy.name, number, error.detail)
        if late and hurried:
            # We were in a hurry, or our client: that says nothing about the service.
            permit.drop()
        else:
            permit.failure(time.monotonic())
        raise
    except BaseException:
        permit.drop()
        raise
    # What the client took to send its request is not the service's slowness.
    permit.since = time.monotonic() - stream.waited
    _measure(upstream, stream.waited)
    permit.answered(stream.status, time.monotonic())
    return stream


def _measure(upstream: Upstream, seconds: float) -> None:
    if upstream.adaptive is not None:
        upstream.adaptive.sample(seconds, upstream.wire.in_flight + 1)


def _named(error: ServiceError, upstream: Upstream, policy: CallPolicy) -> ServiceError:
    error.service, error.operation = upstream.name, policy.name
    return error
