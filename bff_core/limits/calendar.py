"""Calendar windows: the second, minute, hour, day, week or month that an instant lies in, as a time zone has it."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from typing import Literal

__all__ = ["SPANS", "Period", "calendar_window"]

Period = Literal["second", "minute", "hour", "day", "week", "month"]

SPANS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2592000}
"""The periods in seconds; of a month, thirty days."""

SECOND = 1_000_000


def calendar_window(now: int, per: Period, zone: tzinfo) -> tuple[int, int]:
    """The window that holds ``now``: its first instant and the first after it. Microseconds since 1970.

    Days begin at midnight of ``zone``, or where there is no midnight that day, when the clocks have been put forward;
    they may last 23 or 25 hours. Weeks begin on Monday (ISO 8601).
    """
    seconds = now // SECOND
    local = datetime.fromtimestamp(seconds, zone)
    if per in ("second", "minute", "hour"):
        span = SPANS[per]
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        start = (seconds + offset) // span * span - offset
        return start * SECOND, (start + span) * SECOND
    first = _first(local.date(), per)
    start = _midnight(first, zone)
    while True:
        first = _next(first, per)
        end = _midnight(first, zone)
        if now < end:
            return start, end
        # The clocks were put back over midnight: yesterday comes twice, but its window has ended.
        start = end


def _first(day: date, per: Period) -> date:
    if per == "month":
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if per == "week" else day


def _next(first: date, per: Period) -> date:
    if per == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if per == "week" else 1)


def _midnight(day: date, zone: tzinfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND
