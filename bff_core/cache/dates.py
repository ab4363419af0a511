"""HTTP-date (RFC 9110 section 5.6.7)."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime

__all__ = ["http_date"]

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rb"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_TIME = rb"(\d\d):(\d\d):(\d\d)"
_IMF_FIXDATE = re.compile(rb"[a-z]{3}, (\d\d) " + _MONTH + rb" (\d{4}) " + _TIME + rb" gmt", re.IGNORECASE)
_RFC_850 = re.compile(rb"[a-z]{6,9}, (\d\d)-" + _MONTH + rb"-(\d\d) " + _TIME + rb" gmt", re.IGNORECASE)
_ASCTIME = re.compile(rb"[a-z]{3} " + _MONTH + rb" ([ \d]\d) " + _TIME + rb" (\d{4})", re.IGNORECASE)


def http_date(value: bytes, now: float) -> float | None:
    """Unix seconds of an HTTP-date in any of its three forms, or None; only GMT counts. ``now`` (Unix seconds) places
    years of two digits."""
    if found := _IMF_FIXDATE.fullmatch(value):
        day, month, year, *time = found.groups()
        return _unix(int(year), month, int(day), time)
    if found := _ASCTIME.fullmatch(value):
        month, day, *time, year = found.groups()
        return _unix(int(year), month, int(day), time)
    if found := _RFC_850.fullmatch(value):
        day, month, short, *time = found.groups()
        this_year = datetime.fromtimestamp(now, UTC).year
        year_of_century = this_year - this_year % 100 + int(short)
        # A year that looks more than 50 years ahead is the last one that ended so.
        return _unix(year_of_century - (100 if year_of_century > this_year + 50 else 0), month, int(day), time)
    return None


def _unix(year: int, month: bytes, day: int, time: list[bytes]) -> float | None:
    hour, minute, second = (int(part) for part in time)
    try:
        moment = datetime(
            year, _MONTHS.index(month.decode().lower()) + 1, day, hour, minute, min(second, 59), tzinfo=UTC
        )
    except ValueError:
        return None
    return float(calendar.timegm(moment.timetuple()) + (second == 60))  # noqa: PLR2004 -- a leap second
