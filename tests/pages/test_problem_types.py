"""The types of problems."""

from __future__ import annotations

from typing import Any

import pytest

from bff_core import Bff, DeclarationError, Page, Problem, Settings, create_bff, section
from bff_core.testing import bff_client


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
