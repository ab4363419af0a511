"""The deadline's form on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.resilience.deadline import format_timeout, parse_timeout


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"250m", 0.25),
        (b"7u", 7e-6),
        (b"1n", 1e-9),
        (b"", None),
        (b"5", None),
        (b"123456789S", None),
        (b"-1S", None),
        (b"1.5S", None),
        (b"1S ", None),
        (b"S", None),
    ],
)
def test_parse(value: bytes, seconds: float | None) -> None:
    """One to eight digits and a unit; nothing else is a deadline."""
    assert parse_timeout(value) == (None if seconds is None else pytest.approx(seconds))


@given(st.floats(min_value=0, max_value=1e6))
def test_format_is_read_back(seconds: float) -> None:
    """What is sent is never more than what is left, but for the one millisecond that is the least."""
    name, _, value = format_timeout(seconds).partition(b": ")
    assert name == b"grpc-timeout"
    read = parse_timeout(value.removesuffix(b"\r\n"))
    assert read is not None
    assert 0 < read <= max(seconds, 0.001) * (1 + 1e-9)
