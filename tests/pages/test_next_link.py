"""Links to following pages, and the types of problems."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from bff_core import Bff, DeclarationError, Page, Problem, Settings, create_bff, section, shape
from bff_core.testing import bff_client


class Rows(BaseModel):
    items: list[int]
    next: str | None


class RowsPage(Page):
    cursor: str = "0"
    limit: int = 2

    @section
    def rows(self, cursor: str, limit: int) -> Rows:
        start = int(cursor)
        return Rows(items=list(range(start, start + limit)), next=str(start + limit) if start + limit < 6 else None)

    @shape
    def answer(self, rows: Rows) -> Rows:
        return rows


class PartRows(RowsPage):
    @section
    def named(self, part: str) -> str:
        return part


class Teapot(Page):
    @section
    def tea(self) -> str:
        raise Problem(409, "I am a teapot.")


class Coffee(Page):
    @section
    def coffee(self) -> str:
        raise Problem(409, type_="https://example.com/coffee")


def gateway(**options: Any) -> Bff:
    return create_bff("t", settings=Settings(log_level="ERROR"), clients=[], **options)


async def test_link() -> None:
    """To the same request with another cursor, whatever its parameters are; not on the last page."""
    app = gateway()
    app.page("/käse/{part}", PartRows, public=True, next_link="cursor")
    async with bff_client(app) as client:
        first = await client.get("/käse/a b?fields=items&limit=3&cursor=0")
        assert first.json() == {"items": [0, 1, 2]}
        assert first.headers["link"] == '</k%C3%A4se/a%20b?fields=items&limit=3&cursor=3>; rel="next"'
        second = await client.get(first.links["next"]["url"])
        assert second.json() == {"items": [3, 4, 5]}
        assert "link" not in second.headers


@pytest.mark.parametrize("options", [{"next_link": "after"}, {"next_link": "cursor", "cache": True}])
def test_where_there_is_no_link(options: dict[str, Any]) -> None:
    """A parameter that is not there; a page whose headers are not kept."""
    with pytest.raises(DeclarationError, match="next_link='"):
        gateway().page("/rows", RowsPage, public=True, **options)


def test_where_there_is_no_next() -> None:
    with pytest.raises(DeclarationError, match="next_link='cursor'"):
        gateway().page("/tea", Teapot, public=True, next_link="cursor")


async def test_problem_types() -> None:
    """By status, where a problem has none of its own; about:blank where nobody has asked for types."""
    for options, expected in (({"problem_types": "/errors/"}, "/errors/"), ({}, None)):
        app = gateway(**options)
        app.page("/tea", Teapot, public=True)
        app.page("/coffee", Coffee, public=True)
        async with bff_client(app) as client:
            tea = (await client.get("/tea")).json()
            assert tea["type"] == (f"{expected}conflict" if expected else "about:blank")
            assert (await client.get("/coffee")).json()["type"] == "https://example.com/coffee"
            assert (await client.get("/none")).json()["type"] == (f"{expected}not-found" if expected else "about:blank")
            page = await client.get("/errors/conflict")
            assert page.status_code == (200 if expected else 404)
            if expected:
                assert "/errors/conflict" in page.text
                assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("base", ["errors/", "/errors", "/", "https://example.com/"])
def test_where_types_cannot_be(base: str) -> None:
    with pytest.raises(DeclarationError, match="must be a path"):
        gateway(problem_types=base)
