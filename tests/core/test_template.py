"""What a request looks like on the wire, whatever the values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, NewType
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import pytest
from fastapi import Body as InBody
from fastapi import Cookie, Header, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typing_extensions import TypedDict

from bff_core import DeclarationError, Operation, Problem, ServiceClient, UnexpectedStatus, delete, get, post, put


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


class Typed(TypedDict):
    name: str


@dataclass
class Classed:
    name: str


Numbered = NewType("Numbered", int)


class Posts(ServiceClient, service="posts"):
    @post("/many")
    async def many(self, lines: list[Body]) -> None: ...

    @post("/maybe")
    async def maybe(self, line: Body | None = None) -> None: ...

    @post("/null")
    async def null(self, line: Body | None) -> None: ...

    @post("/counts")
    async def counts(self, counts: dict[str, int]) -> None: ...

    @post("/typed")
    async def typed(self, typed: Annotated[Typed, "told"]) -> None: ...

    @post("/classed")
    async def classed(self, classed: Classed) -> None: ...

    @post("/query")
    async def query(self, ids: list[Numbered], on: date | None = None, tags: Sequence[str] = ()) -> None: ...

    @post("/said")
    async def said(self, ids: Annotated[list[int], InBody()]) -> None: ...

    @get("/told")
    async def told(self, x_tag: Annotated[list[str], Header()]) -> None: ...


@pytest.mark.parametrize(
    ("operation", "value", "target", "body"),
    [
        (Posts.many, [Body(name="a"), Body(name="b")], "/many", b'[{"name":"a"},{"name":"b"}]'),
        (Posts.maybe, Body(name="a"), "/maybe", b'{"name":"a"}'),
        (Posts.maybe, None, "/maybe", b""),
        (Posts.null, None, "/null", b"null"),
        (Posts.counts, {"a": 1}, "/counts", b'{"a":1}'),
        (Posts.typed, {"name": "a"}, "/typed", b'{"name":"a"}'),
        (Posts.classed, Classed("a"), "/classed", b'{"name":"a"}'),
        (Posts.query, [1, 2], "/query?ids=1&ids=2", b""),
        (Posts.said, [1, 2], "/said", b"[1,2]"),
    ],
)
def test_what_no_query_can_carry_is_the_body(
    operation: Operation[..., Any], value: Any, target: str, body: bytes
) -> None:
    """As FastAPI draws the line, so that both ends agree."""
    headers = b"content-type: application/json\r\n" if body else b""
    assert render(operation, value) == (target, headers, body)


def test_a_header_comes_as_often_as_there_are_values() -> None:
    """No list prints itself into a request."""
    assert render(Posts.told, ["a", "b"]) == ("/told", b"x-tag: a\r\nx-tag: b\r\n", b"")


@pytest.mark.parametrize(
    ("declare", "path", "annotation", "message"),
    [
        (get, "/x", dict[str, int], "a GET request has no body, but 'it' is one"),
        (delete, "/x", list[Body], "a DELETE request has no body, but 'it' is one"),
        (post, "/x", Annotated[Body, Query()], "cannot be written as a query parameter; .*Body()"),
        (post, "/x", Annotated[list[Body], Header()], "cannot be written as a header parameter; .*Body()"),
        (post, "/x/{it}", list[str], "cannot be written as a path parameter"),
        (post, "/x", Annotated[str, Cookie()], "'it' is a cookie"),
        (post, "/x", Annotated[Body, InBody(embed=True)], "embed=True"),
    ],
)
def test_what_cannot_be_sent_is_refused(declare: Any, path: str, annotation: Any, message: str) -> None:
    """When the class is made, not when somebody calls."""

    async def ask(self: Any, it: Any) -> None: ...

    ask.__annotations__["it"] = annotation
    with pytest.raises(DeclarationError, match=message) as refused:
        type("Wrong", (ServiceClient,), {"ask": declare(path)(ask)}, service="wrong")
    assert str(refused.value).startswith("Wrong.ask: ")
