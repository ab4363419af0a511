"""``?fields=`` down to members of members."""

from __future__ import annotations

import re
from typing import Annotated, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from bff_core import Page, Problem, ServiceClient, Settings, create_bff, get, optional, required
from bff_core.pages.fields import members_of, members_pattern, read_fields
from bff_core.testing import FakeServices, bff_client


class Price(BaseModel):
    amount: int
    currency: str


class Product(BaseModel):
    id: str
    price: Price
    was: Price | None = None


class Review(BaseModel):
    rating: int
    text: str
    replies: list[Review] = []


class Answer(BaseModel):
    product: Product
    reviews: list[Review]
    grid: Annotated[list[list[Price]], Field(alias="theGrid")] = []
    tags: dict[str, Price] = {}
    count: int = 0


MEMBERS = members_of(Answer)
PATTERN = re.compile(members_pattern(MEMBERS))
WHOLE = Answer.model_validate({
    "product": {"id": "p1", "price": {"amount": 5, "currency": "EUR"}},
    "reviews": [{"rating": 4, "text": "good", "replies": [{"rating": 1, "text": "no"}]}, {"rating": 2, "text": "bad"}],
    "theGrid": [[{"amount": 1, "currency": "EUR"}]],
    "tags": {"a": {"amount": 1, "currency": "EUR"}},
})  # fmt: skip


def shown(fields: str) -> Any:
    include = read_fields([fields], MEMBERS)
    return WHOLE.model_dump(include=include, by_alias=True)


@pytest.mark.parametrize("fields", ["count," * 500, "reviews(" + "text," * 500 + "text)", "reviews(" * 501])
def test_there_is_an_end_to_names(fields: str) -> None:
    with pytest.raises(Problem, match="more than 500 names"):
        read_fields([fields], MEMBERS)


def test_the_first_ten_unknown_names_are_told() -> None:
    with pytest.raises(Problem) as refused:
        read_fields([",".join([*map(str, range(100, 110)), "product("])], MEMBERS)
    assert refused.value.extensions["unknown"] == [str(number) for number in range(100, 110)]


@pytest.mark.parametrize(
    ("fields", "document"),
    [
        ("product(id,price),reviews.rating", {
            "product": {"id": "p1", "price": {"amount": 5, "currency": "EUR"}},
            "reviews": [{"rating": 4}, {"rating": 2}],
        }),
        ("product.price.amount,product.id", {"product": {"id": "p1", "price": {"amount": 5}}}),
        ("product.was.amount", {"product": {"was": None}}),
        ("theGrid.amount", {"theGrid": [[{"amount": 1}]]}),
        ("reviews(rating,replies(rating))", {"reviews": [{"rating": 4, "replies": [{"rating": 1}]},
                                                         {"rating": 2, "replies": []}]}),
        ("tags, ,count", {"tags": {"a": {"amount": 1, "currency": "EUR"}}, "count": 0}),
        ("product.id,product", {"product": WHOLE.product.model_dump()}),
        ("product,product.id", {"product": WHOLE.product.model_dump()}),
        ("", {}),
    ],
)  # fmt: skip
def test_what_is_asked_for(fields: str, document: Any) -> None:
    assert PATTERN.match(fields)
    assert shown(fields) == document


@pytest.mark.parametrize(
    "fields",
    ["nope", "product.nope", "count.x", "tags.a", "grid", "product(", "product()", "product(id", "product(id,)",
     "product (id)", "product(id)x", "product.", ".", "a" * 5000, "(" * 5000, "product." * 1000, "id)"],
)  # fmt: skip
def test_what_is_not_there_or_not_readable_is_refused(fields: str) -> None:
    assert not PATTERN.match(fields)
    with pytest.raises(Problem) as refused:
        read_fields([fields], MEMBERS)
    assert refused.value.status == 400


def test_a_refusal_says_what_there_is() -> None:
    with pytest.raises(Problem) as refused:
        read_fields(["product(nope,id),reviews.rate"], MEMBERS)
    assert refused.value.extensions == {
        "unknown": ["product.nope", "reviews.rate"],
        "available": ["id", "price", "was"],
    }


TOKENS = st.sampled_from(
    ["product", "reviews", "count", "theGrid", "id", "price", "amount", "replies", ".", ",", "(", ")", " ", "x"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.lists(TOKENS, max_size=12).map("".join), st.from_regex(PATTERN)))
def test_the_document_says_exactly_what_is_taken(fields: str) -> None:
    try:
        read_fields([fields], MEMBERS)
    except Problem:
        assert not PATTERN.match(fields)
    else:
        assert PATTERN.match(fields)


class Things(ServiceClient, service="things"):
    @get("/product")
    async def product(self) -> Product: ...

    @get("/reviews")
    async def reviews(self) -> list[Review]: ...


class ThingPage(Page):
    product = required(Things.product)
    reviews = optional(Things.reviews, fallback=[], feeds=["reviews"])


@pytest.mark.anyio
async def test_a_page_answers_them_and_skips_what_they_do_not_need() -> None:
    services = FakeServices("things")
    services["things"].get("/product").respond(json={"id": "p1", "price": {"amount": 5, "currency": "EUR"}})
    reviews = services["things"].get("/reviews").mock(return_value=httpx.Response(200, json=[]))
    app = create_bff("t", clients=[Things], settings=Settings(services=services.settings), transport=services.transport)
    app.page("/thing", ThingPage, public=True)
    async with bff_client(app) as client:
        some = await client.get("/thing?fields=product(price.amount)")
        assert some.json() == {"product": {"price": {"amount": 5}}}
        assert reviews.call_count == 0
        assert some.headers["etag"] != (await client.get("/thing")).headers["etag"]
        refused = await client.get("/thing?fields=product.secret")
    assert refused.status_code == 400
    assert refused.json()["available"] == ["id", "price", "was"]
