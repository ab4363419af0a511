"""What a request looks like on the wire, whatever the values are."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest
from fastapi import Header, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bff_core import Operation, Problem, ServiceClient, UnexpectedStatus, get, put


class Colour(Enum):
    RED = "red"


class Body(BaseModel):
    name: str


class Api(ServiceClient, service="api"):
    @get("/a/{one}/b/{two}")
    async def path(self, one: str, two: int) -> None: ...

    @get("/q")
    async def query(
        self,
        text: Any = None,
        many: list[Any] | None = None,
        renamed: Annotated[str | None, Query(alias="re-named")] = None,
    ) -> None: ...

    @put("/b/{key}")
    async def body(self, key: str, body: Body, if_match: Annotated[str | None, Header()] = None) -> None: ...


def render(operation: Operation[..., Any], *args: Any, **kwargs: Any) -> tuple[str, bytes, bytes]:
    return operation.template.render(operation.arguments(*args, **kwargs))


@given(st.text(min_size=1).filter(lambda text: text not in (".", "..")))
def test_any_text_is_one_segment(text: str) -> None:
    """Whatever a path value holds, it stays one segment and comes out as it went in."""
    target, headers, body = render(Api.path, text, 2)
    assert target.isascii()
    assert not set(target) & set(" \r\n\t\\?#")
    segments = target.split("/")
    assert len(segments) == 5
    assert unquote(segments[2]) == text.encode("utf-8", "replace").decode()
    assert (headers, body) == (b"", b"")


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_segments_that_would_vanish(value: str) -> None:
    """Such a resource does not exist."""
    with pytest.raises(UnexpectedStatus, match="404"):
        render(Api.path, value, 1)


@given(st.text(), st.lists(st.text()))
def test_any_text_is_one_query_value(text: str, many: list[str]) -> None:
    """Query values never become fields of their own."""
    target, _, _ = render(Api.query, text, many, renamed="x")
    parts = urlsplit(target)
    assert parts.path == "/q"
    expected = [("text", text), *(("many", item) for item in many), ("re-named", "x")]
    assert parse_qsl(parts.query, keep_blank_values=True) == [
        (name, value.encode("utf-8", "replace").decode()) for name, value in expected
    ]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (True, "true"),
        (3, "3"),
        (Colour.RED, "red"),
        (Decimal("1.50"), "1.50"),
        (1.5, "1.5"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_values_of_other_types(value: Any, sent: str) -> None:
    """Each type has one text."""
    target, _, _ = render(Api.query, value)
    assert parse_qsl(urlsplit(target).query) == [("text", sent)]


def test_body_and_headers() -> None:
    """A model is the body; None is no header."""
    assert render(Api.body, "k", Body(name="ü")) == (
        "/b/k",
        b"content-type: application/json\r\n",
        '{"name":"ü"}'.encode(),
    )
    assert render(Api.body, "k", Body(name=""), if_match='"1"')[1].startswith(b'if-match: "1"\r\n')


@pytest.mark.parametrize("value", ["a\r\nx-admin: 1", "a\nb", "a\x00b", "a\x7fb", "snow\u2603"])
def test_no_header_injection(value: str) -> None:
    """A value that would end its line is refused."""
    with pytest.raises(Problem) as refused:
        render(Api.body, "k", Body(name=""), if_match=value)
    assert refused.value.status == 400


def test_arguments_are_a_functions() -> None:
    """A wrong call is a TypeError, as everywhere."""
    with pytest.raises(TypeError):
        Api.path.arguments("a")
    with pytest.raises(TypeError):
        Api.path.arguments("a", 1, nope=2)
    assert Api.query.arguments(many=["x"]) == (None, ["x"], None)
