"""The pipeline of one call, outermost first: deadline, retry or hedge, bulkhead, breaker, attempt timeout, wire.

The first attempt runs bare and without a task: it is on its way when ``start`` returns, and the wire's callback ends
it. Only a call that must be retried costs a task, only one that is hedged a timer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ..errors import BadResponse, BulkheadFull, CircuitOpen, ServiceError, UnexpectedStatus
from ..wire import WireResponse
from .attempt import Attempt, Request
from .retry import retry
from .upstream import CallPolicy, Upstream

__all__ = ["Call"]

Finished = Callable[["Call"], None]


class Call:
    """One call of one operation. ``deadline`` is an instant of ``time.monotonic``.

    ``finished`` is called once, when ``response`` or ``error`` is set; never from within ``start``, and never after
    ``cancel``.
    """

    __slots__ = (
        "_attempts", "_policy", "_request", "_task", "_timer", "_upstream", "deadline", "error", "finished", "response",
        "sent",
    )  # fmt: skip

    def __init__(
        self, upstream: Upstream, policy: CallPolicy, request: Request, deadline: float, finished: Finished
    ) -> None:
        self._upstream = upstream
        self._policy = policy
        self._request = request
        self._attempts: list[Attempt] = []
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self.deadline = deadline
        self.finished: Finished | None = finished
        self.response: WireResponse | None = None
        self.error: ServiceError | None = None
        self.sent = 0

    def start(self) -> None:
        """Send the first attempt; never waits, and raises only what a wrong request raises."""
        self._upstream.budget.deposit(time.monotonic())
        try:
            self._send(self._first_ended)
        except ServiceError as error:
            self._timer = asyncio.get_running_loop().call_soon(self._end, None, error)
            return
        if self._policy.hedge_delay is not None:
            delay = self._policy.hedge_delay or self._upstream.latency.value
            if delay is not None:
                self._timer = asyncio.get_running_loop().call_later(delay, self._hedge)

    def again(self, request: Request, finished: Finished) -> None:
        """Begin once more, with another request, within the same deadline; from within ``finished`` only."""
        self._request, self.finished = request, finished
        self.response = self.error = None
        self.sent = 0
        self.start()

    def cancel(self) -> None:
        """The result is no longer wanted: everything the call holds is given back."""
        if self.finished is not None:
            self._policy.meter.failed("cancelled")
        self.finished = None
        if self._task is not None:
            self._task.cancel()
        self._release()

    def _send(self, ended: Callable[[Attempt, WireResponse | None, ServiceError | None], None]) -> None:
        attempt = Attempt(self._upstream, self._policy, self.sent, ended)
        attempt.send(self._request, self.deadline)
        self._attempts.append(attempt)
        self.sent += 1

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        attempts, self._attempts = self._attempts, []
        for attempt in attempts:
            attempt.abandon()

    def _hedge(self) -> None:
        """The first attempt takes long: send another beside it, if the budget has one and the circuit is closed."""
        self._timer = None
        upstream = self._upstream
        if upstream.breaker.state != "closed" or upstream.waiting or not upstream.budget.withdraw(time.monotonic()):
            return
        try:
            self._send(self._first_ended)
        except ServiceError:
            return
        upstream.emit("OnHedging", "warning", "Hedging", self._policy.name, self.sent - 1)

    def _first_ended(self, attempt: Attempt, response: WireResponse | None, error: ServiceError | None) -> None:
        self._attempts.remove(attempt)
        if response is not None:
            self._end(response, None)
        elif self._attempts and not _is_definite(error):
            return  # the other one may still make it
        elif (
            error is not None
            and error.retryable
            and self._policy.idempotent
            and self._policy.retry.attempts > self.sent
        ):
            self._release()
            self._task = asyncio.get_running_loop().create_task(self._recover(error))
        else:
            self._end(None, error)

    async def _recover(self, first: ServiceError) -> None:
        response: WireResponse | None = None
        error: ServiceError | None = None
        try:
            response = await retry(
                first,
                self._attempt,
                policy=self._policy.retry,
                budget=self._upstream.budget,
                deadline=self.deadline,
                sent=self.sent,
                on_retry=self._tell_retry,
            )
        except (BulkheadFull, CircuitOpen):
            # Full or opened meanwhile: what the attempts saw says more than that no further one is allowed.
            error = first
        except ServiceError as last:
            error = last
        self._end(response, error)

    def _tell_retry(self, number: int, wait: float) -> None:
        self._upstream.emit("OnRetry", "warning", "Retry", self._policy.name, number, f"waits {wait * 1000:.0f} ms")

    async def _attempt(self) -> WireResponse:
        future: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()

        def ended(attempt: Attempt, response: WireResponse | None, error: ServiceError | None) -> None:
            self._attempts.remove(attempt)
            if future.done():
                return
            if response is not None:
                future.set_result(response)
            else:
                future.set_exception(error or BadResponse())

        self._send(ended)
        return await future

    def _end(self, response: WireResponse | None, error: ServiceError | None) -> None:
        self._task = None
        self._release()
        self.response = response
        if error is not None:
            error.service, error.operation = self._upstream.name, self._policy.name
            self._policy.meter.failed(error.kind)
            self.error = error
        finished, self.finished = self.finished, None
        if finished is not None:
            finished(self)


def _is_definite(error: ServiceError | None) -> bool:
    """Whether the service has answered so that it would not be asked again."""
    return isinstance(error, (BadResponse, UnexpectedStatus)) and not error.retryable
