"""A page's parameters: where each is read, and what is refused when it is declared."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Cookie, Header
from pydantic import BaseModel

from bff_core import Bff, Page, Settings, create_bff, section, shape
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
