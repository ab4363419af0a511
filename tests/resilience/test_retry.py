"""Retries: how often, after what wait, and when not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import BadResponse, ConnectFailed, ConnectionLost, RetryPolicy, ServiceError, UnexpectedStatus
from bff_core.resilience import RetryBudget
from bff_core.resilience.retry import backoff, retry
from bff_core.resilience.retry_after import parse_retry_after

POLICY = RetryPolicy(attempts=3, base=0.05, cap=1.0)


class World:
    """A clock that sleeping moves, and a service that answers from a list."""

    def __init__(self, answers: list[ServiceError | str]) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.answers = answers
        self.attempts = 0

    async def attempt(self) -> str:
        self.attempts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, ServiceError):
            raise answer
        return answer

    async def run(self, first: ServiceError, **changes: Any) -> str:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += seconds

        options: dict[str, Any] = {
            "policy": POLICY,
            "budget": RetryBudget(0.2, 10),
            "deadline": 110.0,
            "clock": lambda: self.now,
            "sleep": sleep,
        }
        return await retry(first, self.attempt, **(options | changes))


async def test_until_it_succeeds() -> None:
    """One retry after another, each after a wait, up to the attempts allowed (the first was made before)."""
    world = World([ConnectFailed(), "ok"])
    assert await world.run(ConnectFailed()) == "ok"
    assert world.attempts == 2
    assert len(world.slept) == 2


async def test_the_last_error_is_raised() -> None:
    """What the last attempt said is what the caller hears."""
    last = ConnectionLost("second")
    world = World([ConnectFailed("first"), last])
    with pytest.raises(ConnectionLost) as raised:
        await world.run(ConnectFailed("zeroth"))
    assert raised.value is last


async def test_not_retryable_ends_it() -> None:
    """A contract broken once is broken twice."""
    world = World([BadResponse(), "never"])
    with pytest.raises(BadResponse):
        await world.run(ConnectFailed())
    assert world.attempts == 1


@pytest.mark.parametrize(("wish", "deadline", "slept"), [(2.0, 110.0, [2.0]), (0.0, 110.0, [0.0]), (20.0, 110.0, [])])
async def test_retry_after_is_obeyed_or_the_call_fails_now(wish: float, deadline: float, slept: list[float]) -> None:
    """Exactly as long as asked for if that fits, else no waiting at all."""
    world = World(["ok"])
    error = UnexpectedStatus(503, retry_after=wish)
    if slept:
        assert await world.run(error, deadline=deadline) == "ok"
    else:
        with pytest.raises(UnexpectedStatus):
            await world.run(error, deadline=deadline)
    assert world.slept == slept


async def test_deadline_nearly_spent() -> None:
    """A wait that would end after the deadline is not begun, and costs no budget."""
    budget = RetryBudget(0, 0.1)
    world = World(["never"])
    with pytest.raises(UnexpectedStatus):
        await world.run(UnexpectedStatus(503, retry_after=1.0), deadline=101.0, budget=budget)
    assert world.slept == []
    assert budget.withdraw(100.0)


async def test_no_budget_no_retry() -> None:
    """An empty budget ends it at once."""
    world = World(["never"])
    with pytest.raises(ConnectFailed):
        await world.run(ConnectFailed(), budget=RetryBudget(0, 0))
    assert world.attempts == 0


async def test_concurrent_retries_do_not_mix() -> None:
    """Each of many concurrent calls gets its own result (a shared tenacity object would mix them up)."""

    async def one(number: int) -> int:
        failures = number % 2

        async def attempt() -> int:
            nonlocal failures
            await asyncio.sleep(0)
            if failures:
                failures -= 1
                raise ConnectFailed
            return number

        policy = RetryPolicy(attempts=3, base=0.001, cap=0.001)
        return await retry(ConnectFailed(), attempt, policy=policy, budget=RetryBudget(1, 1000), deadline=float("inf"))

    assert await asyncio.gather(*(one(number) for number in range(40))) == list(range(40))


@given(st.integers(min_value=1, max_value=60), st.floats(min_value=0, max_value=1, exclude_max=True))
def test_backoff_is_full_jitter(retries: int, jitter: float) -> None:
    """Between nothing and the exponential bound, never beyond the cap."""
    assert 0 <= backoff(POLICY, retries, jitter) <= min(1.0, 0.05 * 2 ** (retries - 1))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"5", 5.0),
        (b" 5 ", 5.0),
        (b"0", 0.0),
        (b"-3", None),
        (b"soon", None),
        (b"1.5", None),
        (b"Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        (b"Thu, 01 Jan 1970 00:03:20 GMT", 100.0),
        (b"", None),
        (b"9" * 400, 9999999999.0),
        ("٣".encode(), None),
    ],
)
def test_retry_after_header(value: bytes | None, seconds: float | None) -> None:
    """Seconds and dates are read; a past date is now; anything else is no wish."""
    assert parse_retry_after(value, 100.0) == seconds
