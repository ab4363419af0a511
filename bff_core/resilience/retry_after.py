"""The Retry-After header (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

__all__ = ["parse_retry_after"]


def parse_retry_after(value: bytes | None, now: float) -> float | None:
    """Seconds from ``now`` (a Unix time) that the header asks to wait; None when absent or not understood.

    Both forms are read, delay-seconds and HTTP-date; a date in the past is 0, a negative number is not understood.
    """
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None
