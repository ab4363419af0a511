"""A history of three versions: there and back."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from .shapes import HISTORY, Customer

HEAD = {
    "id": "c1",
    "first_name": "ada",
    "last_name": "lovelace",
    "state": "frozen",
    "balance": {"amount": 5, "currency": "EUR"},
    "contact": {"email": "a@b", "city": "London"},
    "parts": [{"sku": "s1", "weight_g": 12}],
    "by_name": {"x": {"sku": "s2", "weight_g": 1}},
    "main": None,
    "vip": True,
}


def test_each_version() -> None:
    """Each step does its part, and nothing of a newer version is left."""
    second, first = HISTORY.at(Customer, "v2"), HISTORY.at(Customer, "v1")
    assert second.down is not None
    assert first.down is not None
    assert second.down(copy.deepcopy(HEAD)) == {
        "id": "c1",
        "name": "ada lovelace",
        "state": "closed",
        "balance": {"amount": 5, "currency": "EUR"},
        "contact": {"email": "a@b"},
        "parts": [{"sku": "s1", "weight_g": 12}],
        "by_name": {"x": {"sku": "s2", "weight_g": 1}},
        "main": None,
        "city": "London",
    }
    assert first.down(copy.deepcopy(HEAD)) == {
        "id": "c1",
        "name": "ada lovelace",
        "state": "closed",
        "balance": {"amount": 5, "currency": "EUR"},
        "parts": [{"article": "s1", "weight_g": "12"}],
        "by_name": {"x": {"article": "s2", "weight_g": "1"}},
        "main": None,
        "city": "London",
        "email": "a@b",
    }
    assert HISTORY.at(Customer, "v3").down is None
    assert HISTORY.at(Customer, "v3").model is Customer


word = st.from_regex("[a-z]{1,9}", fullmatch=True)
part = st.fixed_dictionaries({"article": st.text(), "weight_g": st.integers(0, 10**9).map(str)})
oldest = st.fixed_dictionaries(
    {
        "id": st.text(),
        "name": st.from_regex("[a-z]{1,9} [a-z]{1,9}", fullmatch=True),
        "state": st.sampled_from(["open", "closed"]),
        "balance": st.fixed_dictionaries(
            {"amount": st.integers(0, 10**9), "currency": st.sampled_from(["EUR", "USD"])}
        ),
        "parts": st.lists(part, max_size=3),
        "by_name": st.dictionaries(st.text(), part, max_size=2),
        "main": st.none() | part,
        "city": st.text(),
        "email": st.text(),
    }
)


@given(oldest)
def test_the_oldest_goes_up_and_comes_back(document: dict[str, Any]) -> None:
    """What the first version's clients say is something at the head, and comes back as it was."""
    first = HISTORY.at(Customer, "v1")
    first.model.model_validate(document)
    assert first.up is not None
    assert first.down is not None
    lifted = first.up(copy.deepcopy(document))
    head = Customer.model_validate(lifted)
    assert first.down(head.model_dump(mode="json")) == document


@given(st.builds(Customer, first_name=word, last_name=word))
def test_each_older_answer_is_what_its_model_says(customer: Customer) -> None:
    """Whatever the head says, the older models describe what is made of it, in their order and to the last member."""
    for name in ("v2", "v1"):
        at = HISTORY.at(Customer, name)
        assert at.down is not None
        answer = at.down(customer.model_dump(mode="json"))
        at.model.model_validate(answer)
        assert list(answer) == list(at.model.model_fields)


@given(
    st.builds(Customer, first_name=word, last_name=word, state=st.sampled_from(["open", "closed"]), vip=st.just(False))
)
def test_the_head_goes_down_and_comes_back(customer: Customer) -> None:
    """Where nothing is said that the older version cannot say."""
    for name in ("v2", "v1"):
        at = HISTORY.at(Customer, name)
        assert at.down is not None
        assert at.up is not None
        assert Customer.model_validate(at.up(at.down(customer.model_dump(mode="json")))) == customer


def test_events() -> None:
    """A webhook's body in the shape its endpoint knows; the next endpoint gets its own."""
    event = {"type": "customer.updated", "timestamp": "2026-06-01T00:00:00Z", "data": HEAD}
    before = copy.deepcopy(event)
    old = HISTORY.event(event, Customer, "2024-01-01")
    assert old["api_version"] == "2024-01-01"
    assert old["data"]["name"] == "ada lovelace"
    assert "vip" not in old["data"]
    assert event == before
    assert HISTORY.event(event, Customer, "v3") == {**event, "api_version": "2026-05-01"}
