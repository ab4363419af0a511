"""Load shedding: who is refused, how evenly, and how it comes and goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.limits import Criticality, Shedder


def driven(lags: list[float]) -> Shedder:
    """A shedder after these lags, one every 20 ms."""
    shedder = Shedder(0.05)
    for number, lag in enumerate(lags):
        shedder.observe(lag, 100 + number * 0.02)
    return shedder


def share(shedder: Shedder, criticality: Criticality) -> float:
    return sum(not shedder.admits(criticality) for _ in range(1000)) / 1000


def test_nothing_is_refused_without_a_queue() -> None:
    """Bursts are no overload; a loop that is late all the time is."""
    assert driven([0.0, 0.5] * 500).level == 0
    assert driven([0.06] * 100).level > 0


def test_the_least_critical_first() -> None:
    """Sheddable before default before critical, and some of the critical always come through."""
    shedder = Shedder(0.05)
    for level, expected in (
        (0.0, (0, 0, 0)),
        (0.5, (0.5, 0, 0)),
        (1.0, (1, 0, 0)),
        (1.25, (1, 0.25, 0)),
        (2.0, (1, 1, 0)),
        (2.9, (1, 1, 0.9)),
    ):
        shedder.level = level
        kinds: tuple[Criticality, ...] = ("sheddable", "default", "critical")
        assert tuple(share(shedder, kind) for kind in kinds) == pytest.approx(expected, abs=0.002)


def test_it_comes_and_goes() -> None:
    """Under a standing queue the level rises to where the queue ends; when it has ended, everybody is served again."""
    shedder = driven([0.4] * 600)
    assert shedder.level == pytest.approx(2.9)
    for number in range(2000):
        shedder.observe(0.0, 200 + number * 0.02)
    assert shedder.level == 0


@given(st.lists(st.floats(min_value=0, max_value=10), max_size=300))
def test_the_level_stays_in_bounds(lags: list[float]) -> None:
    """Whatever the loop does, and critical requests are never refused two times in a row below their floor."""
    shedder = driven(lags)
    assert 0 <= shedder.level <= 2.9
    assert any(shedder.admits("critical") for _ in range(20))
