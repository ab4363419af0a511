"""What is counted, by itself."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bff_core.ops.history import POINTS, WINDOW, Series, quantile
from bff_core.telemetry import Event, Histogram, PageMeter, RecentEvents, SectionMeter
from bff_core.telemetry.meters import BOUNDS, CANCELLED, DONE, FAILED, SKIPPED, STALE

durations = st.floats(min_value=0, max_value=20)


@given(st.lists(durations))
def test_a_histogram_is_what_prometheus_means_by_one(seen: list[float]) -> None:
    """`le` includes its bound; nothing is lost above the last one."""
    histogram = Histogram()
    for value in seen:
        histogram.observe(value)
    cumulative = 0
    for bound, count in zip(BOUNDS, histogram.counts, strict=False):
        cumulative += count
        assert cumulative == sum(value <= bound for value in seen)
    assert sum(histogram.counts) == len(seen)


def test_a_bound_belongs_to_its_bucket() -> None:
    """Exactly 0.1 s is not more than 0.1 s."""
    histogram = Histogram()
    histogram.observe(0.1)
    assert histogram.counts[BOUNDS.index(0.1)] == 1
    assert list(BOUNDS) == sorted(set(BOUNDS))


@given(st.lists(durations, min_size=1, max_size=50), st.floats(min_value=0.01, max_value=1.0))
def test_a_quantile_is_in_the_right_bucket(seen: list[float], share: float) -> None:
    """The bucket of the estimate is that of the value it stands for."""
    histogram = Histogram()
    for value in seen:
        histogram.observe(value)
    estimate = quantile(share, histogram.counts)
    assert estimate is not None
    rank = 0
    while (rank + 1) < share * len(seen):
        rank += 1
    bucket = min(bisect_left(BOUNDS, sorted(seen)[rank]), len(BOUNDS) - 1)
    lower = BOUNDS[bucket - 1] if bucket else 0.0
    assert lower <= estimate <= BOUNDS[bucket]


def test_no_quantile_of_nothing() -> None:
    """None, and not zero."""
    assert quantile(0.5, [0] * (len(BOUNDS) + 1)) is None


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=200))
def test_a_window_is_the_last_minute(seconds: list[tuple[int, int]]) -> None:
    """Counts older than sixty seconds are out, all newer ones are in, and the past is bounded."""
    empty = (0,) * (len(BOUNDS) + 1)
    series = Series((0, 0, empty))
    total = bad = 0
    for good, failed in seconds:
        total, bad = total + good + failed, bad + failed
        series.push((total, bad, (total, *empty[1:])))
    expected = seconds[-WINDOW:]
    window = series.window()
    assert window.count == sum(good + failed for good, failed in expected)
    failures = sum(failed for _, failed in expected)
    assert window.bad == (failures / window.count if window.count else None)
    assert window.rate == (window.count / len(expected) if expected else 0)
    assert len(series.points) == min(POINTS, len(seconds))


def test_how_sections_end() -> None:
    """Every state is one outcome; what did not run to its end has no duration."""
    names = ["ok", "skipped", "late", "unreached", "running", "old"]
    meter = PageMeter("Page", "GET", "/page", [SectionMeter(name, required=False) for name in names])
    states = [DONE, SKIPPED, FAILED, FAILED, CANCELLED, DONE]
    meter.ran(
        states, [0.02, 0.0, 0.5, 0.0, 12345.6, 0.3], {"late": "timeout", "unreached": "dependency", "old": "stale"}
    )
    outcomes = {
        section.name: section.outcomes.index(1) if 1 in section.outcomes else DONE for section in meter.sections
    }
    assert [section.ok for section in meter.sections] == [1, 0, 0, 0, 0, 0]
    assert outcomes == dict(zip(names, [DONE, SKIPPED, FAILED, FAILED, CANCELLED, STALE], strict=True))
    assert {section.name: sum(section.duration.counts) for section in meter.sections} == {
        "ok": 1, "skipped": 0, "late": 1, "unreached": 0, "running": 0, "old": 1
    }  # fmt: skip
    assert [section.outcomes[0] for section in meter.sections] == [0] * 6


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def event(name: str, operation: str = "product", detail: str = "") -> Event:
    return Event(name, "warning", "catalog", "Retry", operation, detail=detail)


def test_an_outage_does_not_drive_out_how_it_began() -> None:
    """A hundred thousand refusals are a few entries; what came before them is still there."""
    clock = Clock()
    recent = RecentEvents(clock)
    recent(event("OnCircuitOpened"))
    for number in range(100_000):
        clock.now = 100.0 + number / 1000
        recent(event("OnCircuitRejected", f"operation{number % 5}", detail=str(number)))
    entries = list(recent.entries)
    assert entries[0].event.name == "OnCircuitOpened"
    assert len(entries) == 1 + 5 * 10
    assert sum(entry.count for entry in entries[1:]) == 100_000
    assert recent.counts["OnCircuitRejected", "catalog", "operation0"] == 20_000
    assert "99999" in {entry.detail for entry in entries}
    assert all(before.first <= after.first for before, after in pairwise(entries))


def test_it_is_bounded() -> None:
    """Events that have nothing in common are forgotten, the oldest first."""
    clock = Clock()
    recent = RecentEvents(clock)
    for number in range(5000):
        clock.now += 60
        recent(event("OnRetry", detail=str(number)))
    assert len(recent.entries) == 200
    assert recent.entries[0].detail == "4800"
