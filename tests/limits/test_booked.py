"""Limits that a tenant has instead of its plan's, as its principals' claims tell them."""

from __future__ import annotations

import pytest

from bff_core import Quota
from bff_core.limits.booked import own_values

NESTED = ['{"month": ' + "[" * depth + "]" * depth + "}" for depth in range(700, 1000, 5)]


@pytest.mark.parametrize(
    "text",
    ["", "no", "[7]", "null", '{"a": ' + "[" * 100_000, "[" * 6_000, '{"month": "many"}', '{"other": 7}', *NESTED],
)
def test_what_cannot_be_used_is_left_out(text: str) -> None:
    limits = {"month": Quota("month", 100, per="month", key="tenant")}
    assert own_values(limits, text) == {}
    assert own_values(limits, '{"month": 7}') == {"month": 7}
