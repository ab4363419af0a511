"""Retries: tenacity, entered only when the first attempt has failed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from ..errors import ServiceError
from ..policy import RetryPolicy
from .budget import RetryBudget

__all__ = ["backoff", "retry"]

T = TypeVar("T")


def backoff(policy: RetryPolicy, retries: int, jitter: float) -> float:
    """Seconds to wait before retry number ``retries`` (from 1), with ``jitter`` in [0, 1): full jitter."""
    return jitter * min(policy.cap, policy.base * 2.0 ** (retries - 1))


async def retry(
    first: ServiceError,
    attempt: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    budget: RetryBudget,
    deadline: float,
    sent: int = 1,
    on_retry: Callable[[int, float], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Go on after ``first``, the failure of attempt 1, until one succeeds, or none is left or affordable.

    A wait that does not fit before ``deadline`` ends it at once; the budget is asked last, so that what is not sent
    costs nothing. ``sent`` attempts were made before; ``on_retry`` is told the number of the next one (from 0) and the
    wait before it. Raises the last attempt's ``ServiceError``.
    """
    # One instance per call: a shared one mixes up concurrent calls (tenacity 9).
    failure: ServiceError | None = first

    async def run() -> T:
        nonlocal failure
        if failure is not None:
            error, failure = failure, None
            raise error
        return await attempt()

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ServiceError) and error.retry_after is not None:
            return max(0.0, error.retry_after)
        return backoff(policy, state.attempt_number, random.random())  # noqa: S311 - spreads load, guards nothing

    def stop(state: RetryCallState) -> bool:
        if state.attempt_number + sent - 1 >= policy.attempts or clock() + state.upcoming_sleep >= deadline:
            return True
        return not budget.withdraw(clock())

    def tell(state: RetryCallState) -> None:
        if on_retry is not None:
            on_retry(state.attempt_number + sent - 1, state.upcoming_sleep)

    retrying = AsyncRetrying(
        stop=stop,
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, ServiceError) and error.retryable),
        before_sleep=tell,
        reraise=True,
        sleep=sleep,
    )
    return await retrying(run)
