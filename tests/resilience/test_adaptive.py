"""The adaptive bulkhead and the percentile that hedges wait for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bff_core import AdaptivePolicy
from bff_core.resilience.adaptive import Gradient2
from bff_core.resilience.latency import EVERY, SIZE, RollingPercentile

POLICY = AdaptivePolicy(enabled=True)


def test_it_grows_while_latency_stays() -> None:
    """A service that keeps its pace is given more, up to the most."""
    limiter = Gradient2(POLICY)
    for _ in range(500):
        limiter.sample(0.01, limiter.limit)
    assert limiter.limit == POLICY.maximum


def test_it_shrinks_when_latency_grows() -> None:
    """A service that slows down is given less, down to the least; afterwards it recovers."""
    limiter = Gradient2(POLICY)
    for _ in range(500):
        limiter.sample(0.01, limiter.limit)
    for _ in range(30):
        limiter.sample(0.5, limiter.limit)
    assert limiter.limit < POLICY.maximum / 2
    for _ in range(1000):
        limiter.sample(0.01, limiter.limit)
    assert limiter.limit == POLICY.maximum


def test_idle_says_nothing() -> None:
    """Few calls in flight do not move the limit: it is not what holds them back."""
    limiter = Gradient2(POLICY)
    for _ in range(500):
        limiter.sample(0.01, 1)
    assert limiter.limit == POLICY.initial


@given(
    st.lists(st.tuples(st.floats(min_value=0, max_value=100), st.integers(min_value=0, max_value=500)), max_size=300)
)
def test_it_stays_in_bounds(samples: list[tuple[float, int]]) -> None:
    """Whatever it is told."""
    limiter = Gradient2(POLICY)
    for latency, in_flight in samples:
        limiter.sample(latency, in_flight)
        assert POLICY.minimum <= limiter.limit <= POLICY.maximum


@given(st.lists(st.floats(min_value=0, max_value=10), max_size=600))
def test_percentile_is_of_the_last_samples(samples: list[float]) -> None:
    """Against the plain definition, at the moments when it is computed."""
    percentile = RollingPercentile(0.95)
    for number, sample in enumerate(samples, 1):
        percentile.add(sample)
        if number % EVERY == 0:
            recent = sorted(samples[max(0, number - SIZE) : number])
            assert percentile.value == recent[min(len(recent) - 1, int(len(recent) * 0.95))]
        elif number < EVERY:
            assert percentile.value is None
