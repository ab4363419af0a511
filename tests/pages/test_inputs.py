"""A page's parameters: where each is read, and what is refused when it is declared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, Cookie, Header, Query
from pydantic import BaseModel

from bff_core import Bff, DeclarationError, Page, Settings, create_bff, section, shape
from bff_core.testing import bff_client


class Seen(BaseModel):
    values: dict[str, Any]


class Told(Page):
    """What came in by cookies and headers."""

    sid: Annotated[str, Cookie()] = "none"
    theme_name: Annotated[int, Cookie(alias="theme.name")] = 0
    x_tag: Annotated[list[str] | None, Header()] = None
    x_first: Annotated[str, Header()] = ""

    @section
    def one(self) -> int:
        return 1

    @shape
    def seen(self, sid: str, theme_name: int, x_tag: list[str] | None, x_first: str) -> Seen:
        return Seen(values={"sid": sid, "theme": theme_name, "tags": x_tag, "first": x_first})


def gateway() -> Bff:
    return create_bff("test", clients=[], settings=Settings(services={}, log_level="CRITICAL"))


async def asked(app: Bff, method: str, path: str, **options: Any) -> httpx.Response:
    async with bff_client(app) as client:
        return await client.request(method, path, **options)


@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ([("sid", "evil")], {}),
        ([("cookie", "sid=5")], {"sid": "5"}),
        ([("cookie", 'a=b; sid="quo=ted"; theme.name=7')], {"sid": "quo=ted", "theme": 7}),
        ([("cookie", "sid=1"), ("cookie", "theme.name=2")], {"sid": "1", "theme": 2}),
        ([("x-tag", "a")], {"tags": ["a"]}),
        ([("x-tag", "a"), ("x-first", "1"), ("x-tag", "b,c"), ("x-first", "2")], {"tags": ["a", "b,c"], "first": "1"}),
    ],
)
async def test_cookies_and_headers(headers: list[tuple[str, str]], values: dict[str, Any]) -> None:
    """A cookie is read from ``Cookie`` alone; a list has every header of its name."""
    app = gateway()
    app.page("/told", Told, public=True)
    answer = await asked(app, "GET", "/told", headers=headers)
    whole = {"sid": "none", "theme": 0, "tags": None, "first": ""} | values
    assert answer.json() == {"values": whole}


async def test_a_wrong_cookie_is_named() -> None:
    """As every other parameter."""
    app = gateway()
    app.page("/told", Told, public=True)
    answer = await asked(app, "GET", "/told", headers={"cookie": "theme.name=blue"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0] | {"detail": ""} == {"in": "cookie", "name": "theme.name", "detail": ""}


class Line(BaseModel):
    sku: str
    quantity: int = 1


@dataclass
class Point:
    x: int


def posting(annotation: Any, *default: Any, status: int = 200) -> Bff:
    """A gateway with a page whose one parameter, ``it``, is such a one."""

    def seen(self: Any, it: Any) -> Seen:
        return Seen(values={"it": it})

    def one(self: Any) -> int:
        return 1

    members: dict[str, Any] = {"__annotations__": {"it": annotation}, "one": section(one), "seen": shape(seen)}
    if default:
        members["it"] = default[0]
    app = gateway()
    app.page("/it", type("It", (Page,), members), method="POST", public=True)
    return app


ONE = {"sku": "a", "quantity": 2}


@pytest.mark.parametrize(
    ("annotation", "sent"),
    [
        (Line, ONE),
        (Line | None, ONE),
        (Line | None, None),
        (list[Line], [ONE]),
        (list[Line], []),
        (dict[str, int], {"a": 1}),
        (Point, {"x": 1}),
        (Annotated[list[int], Body()], [1, 2]),
    ],
)
async def test_what_no_query_can_carry_is_the_body(annotation: Any, sent: Any) -> None:
    """As in FastAPI."""
    app = posting(annotation)
    headers = {"content-type": "application/json"}
    answer = await asked(app, "POST", "/it", content=json.dumps(sent), headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"values": {"it": sent}})
    assert "requestBody" in app.openapi()["paths"]["/it"]["post"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 200), (b'{"sku":"a"}', 415)],
)
async def test_an_optional_body_may_be_missing(content: bytes, status: int) -> None:
    """Without one the default stands; what is there must say that it is JSON."""
    answer = await asked(posting(Line | None, None), "POST", "/it", content=content)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"values": {"it": None}}


async def test_a_required_body_may_not() -> None:
    """Whatever its type says."""
    app = posting(list[Line])
    assert (await asked(app, "POST", "/it")).status_code == 415
    empty = await asked(app, "POST", "/it", headers={"content-type": "application/json"})
    assert empty.status_code == 422
    wrong = await asked(app, "POST", "/it", json=[ONE, {}])
    assert wrong.json()["errors"] == [{"in": "body", "pointer": "/1/sku", "detail": "Field required"}]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[Line, Query()], "It: no query parameter can carry 'it: Line'"),
        (Annotated[dict[str, str], Header()], "It: no header parameter can carry 'it"),
        (Annotated[list[str], Cookie()], "It: no cookie parameter can carry 'it"),
        (Annotated[Line, Body(embed=True)], "It: 'it' is the whole body"),
    ],
)
def test_what_can_never_come_in_is_refused(annotation: Any, message: str) -> None:
    """When it is declared, with the page's name."""
    with pytest.raises(DeclarationError) as refused:
        posting(annotation)
    assert str(refused.value).startswith(message)


def test_one_page_has_one_body() -> None:
    """Two would be read from the same JSON."""

    class Two(Page):
        """Two bodies."""

        first: Line
        more: list[Line]

        @section
        def one(self, first: Line, more: list[Line]) -> int:
            return 1

    app = gateway()
    with pytest.raises(DeclarationError, match="Two: more than one body parameter: first, more; make one model"):
        app.page("/two", Two, method="POST", public=True)
    with pytest.raises(DeclarationError, match="Counts: a GET page has no body, but 'counts' is one"):
        app.page("/counts", Counts, public=True)


class Counts(Page):
    """A dict on a GET page."""

    counts: dict[str, int]

    @section
    def one(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("path", "method", "message"),
    [
        ("told", "GET", "Told: the path 'told' must begin with '/': '/told'"),
        ("/told", "FETCH", "Told: method='FETCH' must be one of GET, POST, PUT, PATCH, DELETE"),
        ("/told", "get", "Told: method='get' must be one of GET"),
        (
            "/there/{one}",
            "GET",
            "Taken: There is at GET '/there/{it}' already, and gets every request for '/there/{one}'",
        ),
    ],
)
def test_routes_that_nobody_would_reach(path: str, method: str, message: str) -> None:
    """Each is refused with the page's name."""

    class There(Page):
        it: str

        @section
        def one(self, it: str) -> int:
            return 1

    class Taken(Page):
        one: str

        @section
        def two(self, one: str) -> int:
            return 1

    app = gateway()
    app.page("/there/{it}", There, public=True)
    app.page("/there/{it}", There, method="POST", public=True)
    app.page("/there/{it}/told", There, public=True)
    with pytest.raises(DeclarationError) as refused:
        app.page(path, Taken if "{" in path else Told, method=method, public=True)
    assert str(refused.value).startswith(message)
