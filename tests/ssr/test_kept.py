"""Whole pages of HTML, kept while every answer they were made of is fresh."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from bff_core import ApiKeys, BadResponse, DeclarationError, Page, Settings, create_bff, required, section
from bff_core.app import Bff
from bff_core.context import current_context
from bff_core.testing import FakeServices, bff_client

from .gateway import ThingPage, Things

pytestmark = pytest.mark.anyio
TEMPLATE = (
    "<!doctype html><html><head><title>x</title></head><body><h1>{{ page.title }}</h1>{{ here }}"
    '<script nonce="{{ nonce }}">run()</script>{% deferred notes %}{{ page.notes | join }}{% enddeferred %}'
    "</body></html>"
)
NONCE = re.compile(r'nonce="([\w-]{22})"')


@pytest.fixture
def services() -> FakeServices:
    return FakeServices("things")


def gateway(services: FakeServices, folder: Path, **options: Any) -> Bff:
    (folder / "t.html").write_text(TEMPLATE)
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("t", clients=[Things], settings=settings, transport=services.transport, templates=folder)
    app.html("/things/{thing_id}", ThingPage, template="t.html", public=True, cache=True, **options)
    return app


def play(services: FakeServices, notes: str = "max-age=60") -> Any:
    fresh = {"cache-control": "max-age=60"}
    route = services["things"].get("/things/a").respond(json="Lamp", headers=fresh)
    services["things"].get("/things/a/notes").respond(json=["good"], headers={"cache-control": notes})
    services["things"].get("/things/a/ids").respond(json=["x"], headers=fresh)
    services["things"].get("/others").respond(json=["X"], headers=fresh)
    return route


async def test_a_page_is_kept_whole(services: FakeServices, tmp_path: Path) -> None:
    """Sent at once, without its services, with a nonce that is new in the policy and in the page."""
    route = play(services)
    async with bff_client(gateway(services, tmp_path)) as client:
        first = await client.get("/things/a")
        again = [await client.get("/things/a") for _ in range(3)]
        other = await client.get("/things/a?x=1")
    assert route.call_count == 1, "the last one's answers are in the response cache"
    assert other.text.count("/things/a?x=1") == 1
    nonces = set()
    for answer in again:
        assert "<h1>Lamp</h1>" in answer.text
        assert "good" in answer.text
        assert "<template" not in answer.text
        assert "noscript" not in answer.text
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert "age" in answer.headers
        (nonce,) = NONCE.findall(answer.text)
        assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
        nonces.add(nonce)
    assert len(nonces | set(NONCE.findall(first.text))) == 4
    assert "age" not in first.headers


@pytest.mark.parametrize("notes", ["no-store", "max-age=0", "private, max-age=60"])
async def test_one_answer_that_may_not_be_kept(services: FakeServices, tmp_path: Path, notes: str) -> None:
    play(services, notes)
    async with bff_client(gateway(services, tmp_path)) as client:
        for _ in range(2):
            assert "age" not in (await client.get("/things/a")).headers


async def test_what_is_not_whole_is_not_kept(services: FakeServices, tmp_path: Path) -> None:
    """Nor what has failed altogether."""
    play(services)
    services["things"].get("/things/a/notes").respond(500)
    services["things"].get("/things/b").respond(404)
    async with bff_client(gateway(services, tmp_path)) as client:
        for _ in range(2):
            assert "age" not in (await client.get("/things/a")).headers
            assert (await client.get("/things/b")).status_code == 404


class MoodyPage(Page):
    title = required(Things.thing)

    @section(optional=True, fallback=[])
    async def notes(self, title: str) -> list[str]:
        raise BadResponse("not today")


async def test_what_no_answer_vouches_for(services: FakeServices, tmp_path: Path) -> None:
    """All answers are fresh, but a section of the page's own has failed."""
    play(services)
    app = gateway(services, tmp_path)
    app.html("/moody/{thing_id}", MoodyPage, template="t.html", public=True, cache=True)
    async with bff_client(app) as client:
        for _ in range(2):
            answer = await client.get("/moody/a")
            assert (answer.status_code, "age" in answer.headers) == (200, False)


class LatePage(ThingPage):
    @section
    def late(self) -> bool:
        current_context().started -= 31  # who asked reads slowly
        return True


@pytest.mark.parametrize(("notes", "kept"), [("max-age=30", False), ("max-age=60", True)])
async def test_what_was_fresh_when_it_came(services: FakeServices, tmp_path: Path, notes: str, kept: bool) -> None:
    play(services, notes)
    app = gateway(services, tmp_path)
    app.html("/late/{thing_id}", LatePage, template="t.html", public=True, cache=True)
    async with bff_client(app) as client:
        await client.get("/late/a")
        assert ("age" in (await client.get("/late/a")).headers) is kept


async def test_only_public_pages(services: FakeServices, tmp_path: Path) -> None:
    app = gateway(services, tmp_path)
    app.auth = ApiKeys([])
    with pytest.raises(DeclarationError, match="only a public GET page can be cached as a whole"):
        app.html("/own/{thing_id}", ThingPage, template="t.html", cache=True)
    with pytest.raises(DeclarationError, match="take cache= away"):
        app.page("/messages/{thing_id}", ThingPage, public=True, stream=True, cache=True)


async def test_head(services: FakeServices, tmp_path: Path) -> None:
    play(services)
    async with bff_client(gateway(services, tmp_path)) as client:
        await client.get("/things/a")
        answer: httpx.Response = await client.head("/things/a")
    assert (answer.status_code, answer.content, "age" in answer.headers) == (200, b"", True)
