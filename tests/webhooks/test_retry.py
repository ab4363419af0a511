"""What follows from an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.webhooks.connector import Outcome
from bff_core.webhooks.retry import SCHEDULE, Verdict, decide

MIDDLE = 0.5  # of the jitter: none


def test_the_schedule() -> None:
    """5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 hours after the one before; then no more."""
    waits = [decide(Outcome(500), step, SCHEDULE, MIDDLE).wait for step in range(9)]
    hour = 3600
    assert waits == [5, 300, 1800, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    assert decide(Outcome(500), 9, SCHEDULE, MIDDLE) == Verdict("dead")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert decide(Outcome(status), 3, SCHEDULE, MIDDLE) == Verdict("delivered")


@pytest.mark.parametrize(
    "status", [300, 301, 302, 304, 307, 308, 400, 401, 403, 404, 408, 422, 500, 501, 503, 599, 999]
)
def test_anything_else_is_tried_again(status: int) -> None:
    assert decide(Outcome(status), 0, SCHEDULE, MIDDLE) == Verdict("pending", 5.0)


def test_no_answer_is_tried_again() -> None:
    assert decide(Outcome(None, "timeout"), 1, SCHEDULE, MIDDLE) == Verdict("pending", 300.0)


def test_gone() -> None:
    assert decide(Outcome(410), 0, SCHEDULE, MIDDLE) == Verdict("dead", gone=True)


@pytest.mark.parametrize("status", [429, 502, 504])
def test_throttled(status: int) -> None:
    """The endpoint is left alone, for as long as it says."""
    assert decide(Outcome(status), 0, SCHEDULE, MIDDLE) == Verdict("pending", 5.0, pause=1.0)
    assert decide(Outcome(status, retry_after=60), 0, SCHEDULE, MIDDLE) == Verdict("pending", 60, pause=60)
    assert decide(Outcome(status, retry_after=2), 0, SCHEDULE, MIDDLE) == Verdict("pending", 5.0, pause=2)


def test_retry_after_of_another_status() -> None:
    assert decide(Outcome(503, retry_after=20), 0, SCHEDULE, MIDDLE) == Verdict("pending", 20, pause=20)


def test_nobody_is_asked_to_wait_for_years() -> None:
    assert decide(Outcome(429, retry_after=1e9), 0, SCHEDULE, MIDDLE).wait == 86_400


outcomes = st.builds(
    Outcome, st.none() | st.integers(100, 999), st.just(""), st.none() | st.floats(0, 1e9), st.just(0.0), st.just(b"")
)


@given(outcomes, st.integers(0, 12), st.floats(0, 1, exclude_max=True))
def test_every_outcome_has_a_verdict(outcome: Outcome, step: int, luck: float) -> None:
    """Waits lie in their window; it ends after the schedule's last; only 2xx delivers."""
    verdict = decide(outcome, step, SCHEDULE, luck)
    assert (verdict.state == "delivered") == outcome.ok
    assert (verdict.state == "pending") == (not outcome.ok and step < len(SCHEDULE) and outcome.status != 410)
    if verdict.state == "pending":
        wish = min(outcome.retry_after or 0, 86_400)
        assert max(SCHEDULE[step] * 0.9, wish) - 1e-6 <= verdict.wait <= max(SCHEDULE[step] * 1.1, wish) + 1e-6
    assert 0 <= verdict.pause <= 86_400
    assert verdict.gone == (outcome.status == 410)
