"""The arithmetic of limits: what they promise, whatever is asked and whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.limits.calendar import Period, calendar_window
from bff_core.limits.rules import SECOND, CalendarQuota, Concurrency, Decision, Gcra, Rule, Verdict, settle
from bff_core.limits.store import Limit, MemoryLimits

YEAR_2000 = 946684800 * SECOND


class Clock:
    """A wall clock in microseconds, moved by the test."""

    def __init__(self, now: int = YEAR_2000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def taken(rule: Rule, instants: list[int]) -> list[int]:
    """Which of the calls at these instants are let in."""
    clock = Clock()
    memory = MemoryLimits(clock=clock)
    allowed = []
    for number, instant in enumerate(instants):
        clock.now = instant
        if memory.take([Limit("l", rule)], [("l",)], str(number)).allowed:
            allowed.append(instant)
    return allowed


rates = st.tuples(st.integers(1, 50), st.sampled_from([1, 7, 60, 3600]), st.integers(1, 30))
gaps = st.lists(st.integers(0, 90 * SECOND), min_size=1, max_size=80)


@given(rates, gaps)
def test_never_more_than_burst_and_rate_in_any_window(rate: tuple[int, int, int], between: list[int]) -> None:
    """Between any two calls let in, both counted, there were at most burst + rate · time."""
    count, seconds, burst = rate
    instants = [YEAR_2000 + sum(between[:number]) for number in range(len(between))]
    allowed = taken(Gcra(count, seconds * SECOND, burst), instants)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            time = allowed[last] - allowed[first]
            assert (last - first + 1) * seconds * SECOND <= burst * seconds * SECOND + count * time


@given(rates)
def test_the_whole_burst_and_then_the_rate(rate: tuple[int, int, int]) -> None:
    """As much as promised, too: the burst at once, and then a call per interval, exactly when it was said."""
    count, seconds, burst = rate
    rule = Gcra(count, seconds * SECOND, burst)
    assert len(taken(rule, [YEAR_2000] * (burst + 5))) == burst
    state, now = None, YEAR_2000
    for _ in range(burst):
        state = rule.take(state, now, "").state
    for _ in range(10):
        refused = rule.take(state, now, "")
        assert not refused.allowed
        assert not rule.take(refused.state, now + refused.retry_after - 1, "").allowed
        now += refused.retry_after
        state = rule.take(refused.state, now, "").state
    assert seconds * SECOND <= rule.interval * count < seconds * SECOND + count  # rounded up
    assert now - YEAR_2000 == 10 * rule.interval


@given(rates, st.lists(st.integers(-100 * SECOND, 100 * SECOND), max_size=60))
def test_a_clock_that_goes_back_gives_nothing_away(rate: tuple[int, int, int], steps: list[int]) -> None:
    """However the clock jumps, there are at most as many calls as the burst and what its ways forward are worth; and it
    never locks anybody out: after one interval at most the next call is let in."""
    count, seconds, burst = rate
    rule = Gcra(count, seconds * SECOND, burst)
    instants = [YEAR_2000]
    for step in steps:
        instants.append(instants[-1] + step)
    forward = sum(max(0, step) for step in steps)
    assert len(taken(rule, instants)) * seconds * SECOND <= burst * seconds * SECOND + count * forward
    state = YEAR_2000 + 10**9 * SECOND
    healed = rule.take(state, YEAR_2000, "")
    assert not healed.allowed
    assert healed.retry_after == rule.interval
    assert rule.take(healed.state, YEAR_2000 + rule.interval, "").allowed


def test_a_better_plan_is_in_force_at_once() -> None:
    """What a slow rule remembers does not hold up a faster one for longer than its own interval."""
    slow, fast = Gcra(1, 86400 * SECOND, 1), Gcra(100, SECOND, 100)
    state = slow.take(None, YEAR_2000, "").state
    first = fast.take(state, YEAR_2000, "")
    assert first.retry_after == 10_000
    assert fast.take(first.state, YEAR_2000 + 10_000, "").allowed


operations = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20 * SECOND)), max_size=60)


@given(operations)
def test_what_is_refused_consumes_nothing(calls: list[tuple[int, int]]) -> None:
    """A limit that stands beside others counts as if the calls that any of them refused had never been made."""
    rules: list[Rule] = [
        Gcra(3, 30 * SECOND, 2),
        CalendarQuota(5, "minute", UTC, "UTC"),
        Concurrency(4, 60 * SECOND),
    ]
    limits = [Limit(str(number), rule) for number, rule in enumerate(rules)]
    clock = Clock()
    together, alone = MemoryLimits(clock=clock), MemoryLimits(clock=clock)
    for number, (user, gap) in enumerate(calls):
        clock.now += gap
        keys = [("0", str(user)), ("1", "all"), ("2", "all")]
        decision = together.take(limits, keys, str(number))
        assert decision.allowed == (not decision.violated)
        if decision.allowed:
            for limit, key in zip(limits, keys, strict=True):
                assert alone.take([limit], [key], str(number)).allowed
        else:
            for name in decision.violated:
                assert not alone.take([limits[int(name)]], [keys[int(name)]], "x").allowed
            for name in {"0", "1", "2"} - set(decision.violated):
                assert alone.take([limits[int(name)]], [keys[int(name)]], "x").allowed
                alone.give_back([limits[int(name)]], [keys[int(name)]], "x")


def test_the_strictest_wins() -> None:
    """Of refusals the longest, else what has the least left; all that refuse are named."""
    fine, tight = Verdict(True, None, 9, 60, 0), Verdict(True, None, 2, 60, 0)
    short, long = Verdict(False, None, 0, SECOND, SECOND + 1), Verdict(False, None, 0, 99 * SECOND, 99 * SECOND)
    assert settle(["a", "b"], [fine, tight]) == Decision(True, "b", 2, 1, 0)
    assert settle(["a", "b", "c", "d"], [fine, short, long, tight]) == Decision(False, "c", 0, 99, 99, ("b", "c"))
    assert settle(["b"], [short]).retry_after == 2  # rounded up: a second too early is a second refusal


# -- calendar ---------------------------------------------------------------------------------------------------------

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/Havana", "Africa/Cairo"]


def window(now: str, per: Period, zone: str) -> tuple[str, str]:
    """The window as UTC, to the minute."""
    start, end = calendar_window(round(datetime.fromisoformat(now).timestamp() * SECOND), per, ZoneInfo(zone))
    first, last = (datetime.fromtimestamp(bound / SECOND, UTC).strftime("%Y-%m-%d %H:%M") for bound in (start, end))
    return first, last


@pytest.mark.parametrize(
    ("now", "per", "zone", "start", "end"),
    [
        ("2026-03-29T12:00:00Z", "day", "Europe/Berlin", "2026-03-28 23:00", "2026-03-29 22:00"),  # 23 hours
        ("2026-10-25T12:00:00Z", "day", "Europe/Berlin", "2026-10-24 22:00", "2026-10-25 23:00"),  # 25 hours
        ("2026-10-25T00:30:00Z", "hour", "Europe/Berlin", "2026-10-25 00:00", "2026-10-25 01:00"),  # the first 02:30
        ("2026-10-25T01:30:00Z", "hour", "Europe/Berlin", "2026-10-25 01:00", "2026-10-25 02:00"),  # and the second
        ("2026-03-01T00:00:00Z", "month", "UTC", "2026-03-01 00:00", "2026-04-01 00:00"),
        ("2026-02-28T23:59:59Z", "month", "UTC", "2026-02-01 00:00", "2026-03-01 00:00"),
        ("2028-02-29T23:59:59Z", "month", "UTC", "2028-02-01 00:00", "2028-03-01 00:00"),
        ("2026-12-31T23:30:00Z", "month", "Europe/Berlin", "2026-12-31 23:00", "2027-01-31 23:00"),
        ("2026-01-31T12:00:00Z", "month", "America/New_York", "2026-01-01 05:00", "2026-02-01 05:00"),
        ("2026-11-15T12:00:00Z", "month", "America/New_York", "2026-11-01 04:00", "2026-12-01 05:00"),
        ("2026-10-18T23:59:00Z", "week", "UTC", "2026-10-12 00:00", "2026-10-19 00:00"),  # Sunday, then Monday
        ("2026-10-19T00:00:00Z", "week", "UTC", "2026-10-19 00:00", "2026-10-26 00:00"),
        ("2026-06-01T10:45:00Z", "hour", "Asia/Kolkata", "2026-06-01 10:30", "2026-06-01 11:30"),
        ("2026-04-24T12:00:00Z", "day", "Africa/Cairo", "2026-04-23 22:00", "2026-04-24 21:00"),  # begins at 01:00
        ("2011-12-30T12:00:00Z", "day", "Pacific/Apia", "2011-12-30 10:00", "2011-12-31 10:00"),  # the 30th is not
        ("2010-11-07T03:00:00Z", "day", "America/St_Johns", "2010-11-07 02:30", "2010-11-08 03:30"),  # yesterday twice
        ("2010-11-07T02:29:00Z", "day", "America/St_Johns", "2010-11-06 02:30", "2010-11-07 02:30"),
        ("2026-06-01T10:45:31Z", "minute", "UTC", "2026-06-01 10:45", "2026-06-01 10:46"),
    ],
)
def test_windows(now: str, per: Period, zone: str, start: str, end: str) -> None:
    """Days of 23 and 25 hours, days without midnight, a day that never was; month ends, leap years, Mondays."""
    assert window(now, per, zone) == (start, end)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001 - hypothesis wants them so
    st.sampled_from(["second", "minute", "hour", "day", "week", "month"]),
    st.sampled_from(ZONES),
)
def test_every_instant_is_in_one_window(instant: datetime, per: Period, zone: str) -> None:
    """The windows hold their instants, and follow each other without a gap."""
    now = round(instant.replace(tzinfo=UTC).timestamp()) * SECOND
    start, end = calendar_window(now, per, ZoneInfo(zone))
    assert start <= now < end
    assert calendar_window(start, per, ZoneInfo(zone)) == calendar_window(end - 1, per, ZoneInfo(zone)) == (start, end)
    assert calendar_window(end, per, ZoneInfo(zone))[0] == end


@given(st.lists(st.integers(0, 40 * 86400), max_size=60), st.sampled_from(ZONES), st.integers(1, 4))
def test_never_more_than_the_quota_in_a_day(gaps: list[int], zone: str, limit: int) -> None:
    """Nor fewer, while there is somebody who asks."""
    rule = CalendarQuota(limit, "day", ZoneInfo(zone), zone)
    instants = [YEAR_2000 + sum(gaps[:number]) * SECOND // 20 for number in range(len(gaps))]
    days = [datetime.fromtimestamp(instant / SECOND, ZoneInfo(zone)).date() for instant in instants]
    allowed = [datetime.fromtimestamp(instant / SECOND, ZoneInfo(zone)).date() for instant in taken(rule, instants)]
    for day in set(days):
        assert allowed.count(day) == min(limit, days.count(day))


def test_a_window_holds_when_the_clock_goes_back() -> None:
    """What was counted for today is still counted when the clock says yesterday for a while."""
    rule = CalendarQuota(2, "day", UTC, "UTC")
    midnight = YEAR_2000 + 86400 * SECOND
    assert taken(rule, [midnight, midnight - SECOND, midnight - SECOND, midnight]) == [midnight, midnight - SECOND]
    verdict = rule.take((midnight, 2), midnight - SECOND, "")
    assert (verdict.allowed, verdict.reset, verdict.retry_after) == (False, SECOND, SECOND)


# -- concurrency and memory -------------------------------------------------------------------------------------------


def test_concurrency_and_leases() -> None:
    """Who ends makes room; who never does makes room when his lease is over."""
    clock = Clock()
    memory = MemoryLimits(clock=clock)
    limits, keys = [Limit("c", Concurrency(2, 60 * SECOND))], [("c",)]
    assert [memory.take(limits, keys, lease).allowed for lease in "abc"] == [True, True, False]
    memory.give_back(limits, keys, "a")
    memory.give_back(limits, keys, "a")
    assert [memory.take(limits, keys, lease).remaining for lease in "de"] == [0, 0]
    assert not memory.take(limits, keys, "f").allowed
    clock.now += timedelta(seconds=60) // timedelta(microseconds=1)
    assert memory.take(limits, keys, "g").remaining == 1
    memory.give_back(limits, keys, "g")
    memory.take([Limit("c", Concurrency(1, 1))], [("other",)], "h")
    assert len(memory) == 1


def test_a_lease_begins_again() -> None:
    clock = Clock()
    memory = MemoryLimits(clock=clock)
    limits, keys = [Limit("c", Concurrency(1, 60 * SECOND))], [("c",)]
    assert memory.take(limits, keys, "a").allowed
    for _ in range(3):
        clock.now += timedelta(seconds=40) // timedelta(microseconds=1)
        assert memory.take(limits, keys, "a").allowed
        assert not memory.take(limits, keys, "b").allowed
    clock.now += timedelta(seconds=61) // timedelta(microseconds=1)
    assert memory.take(limits, keys, "b").allowed


def test_memory_is_bounded_and_forgets_what_is_over() -> None:
    """A flood of keys neither grows without end nor throws out those who are over their limit before it must."""
    clock = Clock()
    memory = MemoryLimits(clock=clock, most=100)
    limits = [Limit("r", Gcra(1, SECOND, 1))]
    for number in range(1000):
        memory.take(limits, [(str(number),)], "")
    assert len(memory) == 100
    clock.now += 2 * SECOND
    for number in range(60):
        memory.take(limits, [(f"new {number}",)], "")
    assert len(memory) == 60
    assert not memory.take(limits, [("new 0",)], "").allowed


def test_instants_rise() -> None:
    """The windows of a quota that is asked at its end: the next begins where it says."""
    rule = CalendarQuota(1, "month", ZoneInfo("Europe/Berlin"), "Europe/Berlin")
    now, seen = YEAR_2000, []
    for _ in range(30):
        verdict = rule.take(None, now, "")
        seen.append(now)
        now += verdict.reset or 0
    assert all(a < b for a, b in pairwise(seen))
    assert datetime.fromtimestamp(now / SECOND, ZoneInfo("Europe/Berlin")).strftime("%d %H:%M") == "01 00:00"
