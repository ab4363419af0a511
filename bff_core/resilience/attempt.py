"""One attempt: a permit, an exchange, and what its end says about the service."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import structlog

from ..errors import (
    RETRYABLE_STATUSES,
    BulkheadFull,
    CallTimeout,
    CircuitOpen,
    ServiceError,
    UnexpectedStatus,
)
from ..telemetry import Span, Spans, from_span
from ..wire import Exchange, WireResponse
from .breaker import Permit
from .deadline import format_timeout
from .retry_after import parse_retry_after
from .upstream import CallPolicy, Upstream

__all__ = ["Attempt", "Request"]

MINIMUM = 0.001
REDIRECTION, NOT_MODIFIED = 300, 304


class Request:
    """What is sent: target in origin form, header block, body. A 304 is an answer to a ``conditional`` one only.

    ``spans`` is to be set where its attempts' spans belong, when it is sampled; ``headers`` are a trace's then. An
    attempt that has less than the operation's timeout is in a hurry, unless it has ``enough`` (seconds): that is to be
    set where the page itself asks for an answer sooner."""

    __slots__ = ("body", "conditional", "enough", "headers", "spans", "target")

    def __init__(self, target: str, headers: bytes, body: bytes, *, conditional: bool = False) -> None:
        self.conditional = conditional
        self.enough = math.inf
        self.spans: Spans | None = None
        self.target = target
        self.headers = headers
        self.body = body


log = structlog.get_logger("bff.resilience")
Ended = Callable[["Attempt", WireResponse | None, ServiceError | None], None]


class Attempt:
    """Told once through ``ended`` how it went, unless it is abandoned."""

    __slots__ = (
        "_conditional",
        "_deadline",
        "_ended",
        "_exchange",
        "_hurried",
        "_permit",
        "_policy",
        "_request",
        "_span",
        "_started",
        "_upstream",
        "number",
    )

    def __init__(self, upstream: Upstream, policy: CallPolicy, number: int, ended: Ended) -> None:
        self._upstream = upstream
        self._policy = policy
        self._ended = ended
        self._exchange: Exchange | None = None
        self._permit: Permit | None = None
        self._started = 0.0
        self._conditional = False
        self._hurried = False
        self._span: Span | None = None
        self._request: Request | None = None
        self._deadline = 0.0
        self.number = number

    def send(self, request: Request, deadline: float) -> None:
        """Send it, if bulkhead and breaker allow, or wait for the bulkhead until the deadline; raises ``BulkheadFull``,
        ``CircuitOpen`` or ``CallTimeout``."""
        upstream = self._upstream
        if upstream.waiting:
            upstream.advance()  # or this one is refused for a place that a stream has left
        if upstream.waiting or upstream.wire.in_flight >= upstream.limit:
            self._wait(request, deadline)
        else:
            self._begin(request, deadline)

    def go(self) -> None:
        """The bulkhead has a place."""
        request, self._request = self._request, None
        if request is None:
            return
        try:
            self._begin(request, self._deadline)
        except ServiceError as error:
            self._ended(self, None, error)
        except Exception as error:
            upstream, policy = self._upstream, self._policy
            log.error("call.error", service=upstream.name, operation=policy.name, exc_info=error)
            self._ended(self, None, ServiceError("it could not be sent"))

    def _wait(self, request: Request, deadline: float) -> None:
        upstream, left = self._upstream, deadline - time.monotonic()
        if left < MINIMUM:
            raise CallTimeout("the deadline has passed")
        self._request, self._deadline = request, deadline
        if not upstream.waiting.join(self, deadline):
            self._request = None
            raise self._rejected()

    def late(self) -> None:
        """It had none before the deadline."""
        self._request = None
        self._ended(self, None, self._rejected())

    def _rejected(self) -> BulkheadFull:
        upstream = self._upstream
        upstream.emit("OnBulkheadRejected", "error", "Bulkhead", self._policy.name, self.number)
        return BulkheadFull(f"{upstream.limit} calls in flight, {len(upstream.waiting)} waiting")

    def _begin(self, request: Request, deadline: float) -> None:
        upstream, policy = self._upstream, self._policy
        self._conditional = request.conditional
        now = self._started = time.monotonic()
        timeout, left = policy.timeout, deadline - now
        if left < timeout:
            timeout, self._hurried = left, left < request.enough
        if timeout < MINIMUM:
            raise CallTimeout("the deadline has passed")
        try:
            self._permit = upstream.breaker.admit(now, policy.timeout)
        except CircuitOpen:
            upstream.emit("OnCircuitRejected", "error", "CircuitBreaker", policy.name, self.number)
            raise
        headers = request.headers
        if request.spans is not None:
            headers = self._trace(request.spans, headers)
        try:
            self._exchange = upstream.wire.send(
                policy.method,
                request.target,
                headers + format_timeout(timeout),
                request.body,
                timeout,
                self._done,
                repeatable=policy.idempotent,
                hurried=self._hurried,
            )
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Its outcome is no longer wanted; what it holds is given back."""
        if self._request is not None:
            self._request = None
            self._upstream.waiting.leave(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._policy.meter.attempts.abandoned()
            exchange.abandon()
        self._end_span("cancelled")
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.drop()
        if exchange is not None and self._upstream.waiting:
            self._upstream.advance()

    def _done(self, response: WireResponse | None, error: ServiceError | None) -> None:
        self._conclude(response, error)
        if self._upstream.waiting:
            self._upstream.advance()

    def _conclude(self, response: WireResponse | None, error: ServiceError | None) -> None:
        self._exchange = None
        permit, self._permit = self._permit, None
        now = time.monotonic()
        upstream = self._upstream
        if response is not None and self._answers(response.status):
            if permit is not None:
                permit.success(now)
            self._policy.meter.attempts.succeeded(now - self._started)
            if self._span is not None:
                self._end_span(None, response)
            self._measure(now)
            self._ended(self, response, None)
            return
        outcome = error.kind if error is not None else "abandoned"
        if response is not None:
            error = _status_error(response)
            outcome = f"{response.status // 100}xx"
        self._policy.meter.attempts.failed(outcome, now - self._started)
        self._end_span(outcome, response)
        if permit is not None:
            if isinstance(error, CallTimeout) and self._hurried:
                # We were in a hurry, or our client: that says nothing about the service.
                permit.drop()
            elif response is None:
                permit.failure(now)
            else:
                permit.answered(response.status, now)
        if isinstance(error, CallTimeout):
            self._measure(now)
            upstream.emit("OnTimeout", "error", "Timeout", self._policy.name, self.number, error.detail)
        self._ended(self, None, error)

    def _trace(self, spans: Spans, headers: bytes) -> bytes:
        policy = self._policy
        span = self._span = spans.begin(f"{policy.method} {policy.path}", "client", self._started)
        span.attributes = {
            "http.request.method": policy.method,
            "url.template": policy.path,
            "peer.service": self._upstream.name,
            "bff.operation": policy.name,
        }
        if self.number:
            span.attributes["http.request.resend_count"] = self.number
        return from_span(headers, span.span_id)

    def _end_span(self, error: str | None, response: WireResponse | None = None) -> None:
        span, self._span = self._span, None
        if span is not None:
            if response is not None:
                span.attributes["http.response.status_code"] = response.status
            span.end(time.monotonic(), error)

    def _answers(self, status: int) -> bool:
        return status < REDIRECTION or (status == NOT_MODIFIED and self._conditional)

    def _measure(self, now: float) -> None:
        upstream = self._upstream
        if upstream.adaptive is not None:
            upstream.adaptive.sample(now - self._started, upstream.wire.in_flight + 1)
        if self._policy.hedge_delay is not None:
            upstream.latency.add(now - self._started)


def _status_error(response: WireResponse) -> UnexpectedStatus:
    retry_after = None
    if response.status in RETRYABLE_STATUSES:
        retry_after = parse_retry_after(response.header(b"retry-after"), time.time())
    return UnexpectedStatus(response.status, response.body, retry_after=retry_after)
