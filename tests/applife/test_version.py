"""Versions of apps: their order, and what is said in the header."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.applife.version import ClientApp, parse_app, parse_version

NUMBERS = st.lists(st.integers(0, 999_999_999), min_size=1, max_size=4)
IDENTIFIERS = st.lists(st.from_regex(r"[0-9A-Za-z-]{1,6}", fullmatch=True), max_size=3)
VERSIONS = st.builds(
    lambda numbers, identifiers: ".".join(map(str, numbers)) + ("-" + ".".join(identifiers) if identifiers else ""),
    NUMBERS,
    IDENTIFIERS,
)

# Semantic Versioning 2.0.0 section 11, and what stores have besides: one to four numbers.
RISING = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.0.1",
    "1.2",
    "1.9.9",
    "1.10",
    "2-x",
    "2",
    "2.1.1",
    "10",
]


def test_the_order() -> None:
    parsed = [parse_version(text) for text in RISING]
    assert None not in parsed
    assert sorted(set(parsed)) == parsed  # type: ignore[type-var]
    assert len(set(parsed)) == len(parsed)


@pytest.mark.parametrize("same", [("3.4", "3.4.0", "3.4.0.0"), ("1.0.0", "1.0.0+b.5", "1+1"), ("1.01", "1.1")])
def test_equal(same: tuple[str, ...]) -> None:
    assert len({parse_version(text) for text in same}) == 1


NONE = ["", "v", "1.", ".1", "1..2", "1.2.3.4.5", "1.2-", "1.2-a..b", "1,2", "-1", "1.2 ", "1" * 10, "1.0-" + "a" * 61]


@pytest.mark.parametrize("text", [*NONE, "\u0661.\u0662"])
def test_none(text: str) -> None:
    assert parse_version(text) is None


@given(VERSIONS, VERSIONS, VERSIONS)
def test_it_is_an_order(a: str, b: str, c: str) -> None:
    """Total and transitive: any two compare, whatever they are made of."""
    x, y, z = parse_version(a), parse_version(b), parse_version(c)
    assert x is not None
    assert y is not None
    assert z is not None
    assert (x < y) + (x == y) + (x > y) == 1
    low, middle, high = sorted([x, y, z])
    assert low <= middle <= high
    assert low <= high


@given(NUMBERS, st.integers(0, 3))
def test_a_higher_number_is_above(numbers: list[int], place: int) -> None:
    higher = [*numbers]
    higher[place % len(numbers)] += 1
    text = ".".join(map(str, numbers))
    low, high = parse_version(text), parse_version(".".join(map(str, higher)))
    assert low is not None
    if max(higher) < 10**9:
        assert high is not None
        assert low < high
    before = parse_version(f"{text}-rc.1")
    assert before is not None
    assert before < low


@given(st.text(max_size=80) | st.from_regex(r"[0-9.+a-z-]{0,70}"))
def test_any_text_is_read(text: str) -> None:
    """And what is a version compares with one."""
    found = parse_version(text)
    assert found is None or found < parse_version("999999999.999999999.999999999.999999999+")  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_any_header_is_read(value: bytes) -> None:
    parse_app(value)


@pytest.mark.parametrize(
    ("value", "app"),
    [
        (b"ios/3.4.1", ClientApp("ios", parse_version("3.4.1"))),
        (b" android/3.4.1+512 ", ClientApp("android", parse_version("3.4.1"))),
        (b"ios/dev-build", ClientApp("ios", None)),
        (b"ios", None),
        (b"iOS/3.4.1", None),
        (b"ios/3.4.1 (iPhone)", None),
        (b"\xff\xfe/1", None),
        (b"ios/" + b"1" * 65, None),
    ],
)
def test_headers(value: bytes, app: ClientApp | None) -> None:
    assert parse_app(value) == app
