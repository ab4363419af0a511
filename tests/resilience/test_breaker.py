"""The breaker's decisions, on a clock that only the test moves."""

from __future__ import annotations

from typing import Any

import pybreaker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import BreakerPolicy, CircuitOpen
from bff_core.resilience import Breaker
from bff_core.resilience.breaker import Permit

POLICY = BreakerPolicy(minimum_calls=20, open_for=5, open_cap=20, jitter=0, half_open_calls=3)


def breaker(**changes: Any) -> Breaker:
    return Breaker("service", POLICY.model_copy(update=changes), lease=1.0, jitter=lambda: 0.5)


def run(target: Breaker, now: float, outcomes: str) -> None:
    """F is a failure, S a success, L a slow success, D a dropped permit."""
    for outcome in outcomes:
        permit = target.admit(now - (1.0 if outcome == "L" else 0.0))
        if outcome == "D":
            permit.drop()
        elif outcome == "F":
            permit.failure(now)
        else:
            permit.success(now)


def opened(now: float = 100.0) -> Breaker:
    target = breaker()
    run(target, now, "F" * 20)
    assert target.state == "open"
    return target


def test_half_the_calls_failing_trip() -> None:
    """50 % alternating failures trip at the minimum throughput, 49 % do not."""
    target = breaker()
    run(target, 100.0, "SF" * 9 + "S")
    assert target.state == "closed"
    run(target, 100.0, "F")
    assert target.state == "open"
    calm = breaker()
    run(calm, 100.0, ("S" * 51 + "F" * 49))
    assert calm.state == "closed"


def test_below_the_minimum_never_trips() -> None:
    """Few calls prove nothing."""
    target = breaker()
    for second in range(100):
        run(target, 100.0 + second, "F")
    assert target.state == "closed"


def test_slow_calls_trip() -> None:
    """Successes that take as long as the attempt timeout are an outage too."""
    target = breaker()
    run(target, 100.0, "L" * 19)
    assert target.state == "closed"
    run(target, 100.0, "L")
    assert target.state == "open"


def test_dropped_calls_say_nothing() -> None:
    """Cancelled calls and refused requests neither trip nor heal."""
    target = breaker()
    run(target, 100.0, "D" * 1000 + "F" * 19)
    assert target.state == "closed"


def test_open_refuses_until_its_time() -> None:
    """An open circuit says how long; then a bounded number of probes goes out."""
    target = opened()
    with pytest.raises(CircuitOpen) as refused:
        target.admit(101.0)
    assert refused.value.retry_after == pytest.approx(4.0)
    admitted = 0
    for _ in range(100):
        try:
            target.admit(105.0)
        except CircuitOpen:
            continue
        admitted += 1
    assert admitted == 3


def test_probes_close_it() -> None:
    """As many successes as probes close the circuit, and the past is forgotten."""
    target = opened()
    for permit in [target.admit(105.0) for _ in range(3)]:
        permit.success(105.1)
    assert target.state == "closed"
    run(target, 105.2, "F" * 19)
    assert target.state == "closed"


@pytest.mark.parametrize(
    ("status", "state"),
    [(200, "closed"), (302, "closed"), (401, "closed"), (404, "closed"), (408, "half-open"), (429, "half-open"),
     (500, "open")],
)  # fmt: skip
def test_what_a_probes_answer_shows(status: int, state: str) -> None:
    """That the service refuses one who asks for what is not there shows that it is there; "not now" shows nothing."""
    target = opened()
    for permit in [target.admit(105.0) for _ in range(3)]:
        permit.answered(status, 105.1)
    assert target.state == state


def test_refusals_do_not_hide_failures() -> None:
    """In a closed circuit they have no weight, whatever their number."""
    target = breaker()
    for _ in range(100):
        target.admit(100.0).answered(404, 100.0)
    run(target, 100.0, "F" * 20)
    assert target.state == "open"


@pytest.mark.parametrize("slow", [False, True])
def test_a_bad_probe_opens_longer(slow: bool) -> None:
    """Each opening in a row is twice as long, up to the cap."""
    target, now = opened(), 105.0
    for length in (10.0, 20.0, 20.0):
        permit = target.admit(now)
        if slow:
            permit.success(now + 1.0)
            now += 1.0
        else:
            permit.failure(now)
        assert target.state == "open"
        with pytest.raises(CircuitOpen) as refused:
            target.admit(now)
        assert refused.value.retry_after == pytest.approx(length)
        now += length


def test_a_hung_probe_loses_its_place() -> None:
    """A probe's lease ends; a cancelled probe gives its place back; neither closes the circuit."""
    target = breaker(slow_after=60.0)
    run(target, 100.0, "F" * 20)
    hung = [target.admit(105.0) for _ in range(3)]
    with pytest.raises(CircuitOpen):
        target.admit(105.9)
    fresh = target.admit(106.1)
    hung[0].success(106.2)
    assert target.state == "half-open"
    fresh.drop()
    assert target.state == "half-open"
    assert sum(1 for _ in range(3) if target.admit(106.2)) == 3


def test_late_reports_are_ignored() -> None:
    """What was permitted before the circuit changed says nothing about it now, and nobody reports twice."""
    target = breaker()
    early = [target.admit(100.0) for _ in range(25)]
    run(target, 100.0, "F" * 20)
    for permit in early[:12]:
        permit.failure(100.1)
    for permit in [target.admit(105.0) for _ in range(3)]:
        permit.success(105.0)
        permit.failure(105.0)
    for permit in early[12:]:
        permit.failure(105.1)
    assert target.state == "closed"


def test_listeners_hear_and_cannot_hinder() -> None:
    """pybreaker's listeners are told of each change; one that raises changes nothing."""
    heard: list[str] = []

    class Listener(pybreaker.CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            heard.append(new_state.name)
            raise RuntimeError

    target = breaker()
    target.machine.add_listener(Listener())
    run(target, 100.0, "F" * 20)
    assert target.state == "open"
    for permit in [target.admit(105.0) for _ in range(3)]:
        permit.success(105.0)
    assert target.state == "closed"
    assert heard == ["open", "half-open", "closed"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["admit", "success", "failure", "drop", "wait", "long"]),
            st.integers(min_value=0, max_value=30),
        ),
        max_size=300,
    )
)
def test_never_more_probes_than_allowed(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: open lets nothing through before its time, half-open at most its number."""
    target = breaker(minimum_calls=3)
    now = 100.0
    held: list[Permit] = []
    for step, index in steps:
        if step == "wait":
            now += 0.05
        elif step == "long":
            now += 3.0
        elif step == "admit":
            closed = target.state == "closed"
            try:
                held.append(target.admit(now))
            except CircuitOpen as refused:
                wait = refused.retry_after or 0.0
            else:
                wait = 1.0
            assert wait > 0
            assert not closed or held
        elif held:
            permit = held.pop(index % len(held))
            if step == "drop":
                permit.drop()
            else:
                getattr(permit, step)(now)
        if target.state == "half-open":
            alive = [p for p in held if p.generation == target._generation and p.since + 1.0 > now]
            assert len(alive) + target._passed <= 3
