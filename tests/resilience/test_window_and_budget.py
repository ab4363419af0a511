"""The rolling count and the retry budget against simple models."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bff_core.resilience import RetryBudget
from bff_core.resilience.window import BUCKETS, RollingCount

STEPS = st.lists(st.integers(min_value=0, max_value=3000), max_size=200)


@given(STEPS)
def test_rolling_count_is_a_list_of_instants(gaps: list[int]) -> None:
    """The count is of the events whose bucket is among the last ten; ``gaps`` are hundredths of a second."""
    count = RollingCount(10.0)
    now, events = 50.0, []
    for gap in gaps:
        now += gap / 100
        count.add(now)
        events.append(int(now))
        assert count.total(now) == sum(1 for event in events if event > int(now) - BUCKETS)
    assert count.total(now + 10.0) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(min_value=0, max_value=200)), max_size=300))
def test_budget_bounds_extra_attempts(steps: list[tuple[bool, int]]) -> None:
    """In any ten seconds the extra attempts stay within the share of the calls plus the reserve."""
    budget = RetryBudget(0.2, 1.0)
    now, calls, extra = 50.0, [], []
    for is_call, gap in steps:
        now += gap / 100
        if is_call:
            budget.deposit(now)
            calls.append(int(now))
        else:
            recent = [sum(1 for e in events if e > int(now) - BUCKETS) for events in (calls, extra)]
            allowed = recent[1] + 1 <= 0.2 * recent[0] + 10
            assert budget.withdraw(now) is allowed
            if allowed:
                extra.append(int(now))


def test_no_reserve_no_calls_no_retry() -> None:
    """Without a reserve nothing is given before calls were made."""
    budget = RetryBudget(0.5, 0)
    assert not budget.withdraw(1.0)
    budget.deposit(1.0)
    assert not budget.withdraw(1.0)
    budget.deposit(1.0)
    assert budget.withdraw(1.0)
    assert not budget.withdraw(1.0)
