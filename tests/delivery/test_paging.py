"""Pages of listings say in ``Link`` what follows; pages with images fit them to the screen."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from fastapi import Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from bff_core import (
    Added,
    DensityAware,
    Page,
    Renamed,
    ServiceClient,
    Settings,
    Version,
    Versions,
    create_bff,
    get,
    optional,
    pick_variant,
    required,
    shape,
)
from bff_core.pages.density import density_of
from bff_core.pages.paging import next_link
from bff_core.testing import FakeServices, bff_client

pytestmark = pytest.mark.anyio


class Things(BaseModel):
    items: list[int]
    next: str | None = None


class Service(ServiceClient, service="things"):
    @get("/things")
    async def things(self, cursor: str | None = None, limit: int = 2) -> Things: ...

    @get("/notes")
    async def notes(self) -> list[str]: ...


class ThingsPage(Page):
    cursor: Annotated[str | None, Query(max_length=64)] = None
    limit: int = 2
    things = required(Service.things)
    notes = optional(Service.notes, fallback=[])

    @shape
    def rows(self, things: Things, notes: list[str]) -> Things:
        return things


class OnlyTakes(Page):
    """A cursor, but the answer does not say the next one."""

    cursor: str | None = None
    things = required(Service.things)


class Picture(BaseModel):
    url: str


class PicturePage(DensityAware, Page):
    things = required(Service.things)

    @shape
    def picture(self, things: Things, density: float) -> Picture:
        widths = [160, 320, 480]
        return Picture(url=f"{pick_variant(widths, int, 160 * density)}.jpg")


def listing(request: httpx.Request) -> httpx.Response:
    start, limit = int(request.url.params.get("cursor", "c 0")[2:]), int(request.url.params["limit"])
    more = start + limit < 5
    headers = {"cache-control": "max-age=60"}
    body = {"items": list(range(start, min(5, start + limit))), "next": f"c {start + limit}" if more else None}
    return httpx.Response(200, json=body, headers=headers)


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("things")
    services["things"].get("/things").mock(side_effect=listing)
    services["things"].get("/notes").respond(json=[], headers={"cache-control": "max-age=60"})
    return services


@pytest.fixture
async def client(services: FakeServices) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("lean", settings=settings, clients=[Service], transport=services.transport)
    app.page("/things", ThingsPage, public=True)
    app.page("/kept", ThingsPage, public=True, cache=True)
    app.page("/takes", OnlyTakes, public=True)
    app.page("/posted", ThingsPage, public=True, method="POST")
    app.page("/picture", PicturePage, public=True)
    app.batch("/batch")
    async with bff_client(app) as client:
        yield client


def following(response: httpx.Response) -> str | None:
    """Where the response says that it goes on, as a client resolves it."""
    link = response.headers.get("link")
    if link is None:
        return None
    found = re.fullmatch(r'<([!-~]*)>; rel="next"', link)
    assert found, link
    return urljoin(str(response.url), found[1])


async def test_links_lead_through_the_whole_listing(client: httpx.AsyncClient) -> None:
    items: list[int] = []
    url: str | None = "/things?limit=2&fields=items"
    while url is not None:
        response = await client.get(url)
        assert response.json().keys() == {"items"}
        items += response.json()["items"]
        url = following(response)
    assert items == [0, 1, 2, 3, 4]
    first = await client.get("/things?limit=2&fields=items")
    assert first.headers["link"] == '<?limit=2&fields=items&cursor=c%202>; rel="next"'


async def test_a_page_that_is_kept_says_it_too(client: httpx.AsyncClient) -> None:
    made, kept = [await client.get("/kept?limit=2") for _ in range(2)]
    assert "age" in kept.headers
    assert made.headers["link"] == kept.headers["link"] == '<?limit=2&cursor=c%202>; rel="next"'


async def test_so_do_304_degraded_pages_head_and_batches(client: httpx.AsyncClient, services: FakeServices) -> None:
    link = '<?cursor=c%202>; rel="next"'
    whole = await client.get("/things")
    known = await client.get("/things", headers={"if-none-match": whole.headers["etag"]})
    assert (known.status_code, known.headers["link"]) == (304, link)
    assert (await client.head("/things")).headers["link"] == link
    batch = await client.post("/batch", json={"items": [{"path": "/things"}]})
    assert batch.json()["items"][0]["headers"]["link"] == link
    services["things"].get("/notes").respond(404)
    degraded = await client.get("/things?limit=3")
    assert degraded.headers["link"] == '<?limit=3&cursor=c%203>; rel="next"'


async def test_other_pages_have_no_links(client: httpx.AsyncClient) -> None:
    last, takes = await client.get("/things?limit=9"), await client.get("/takes")
    assert (last.headers.get("link"), takes.headers.get("link")) == (None, None)
    assert "link" not in (await client.post("/posted")).headers


async def test_in_older_versions_it_is_that_versions_parameter(services: FakeServices) -> None:
    versions = Versions(
        Version("2026-03-01", Renamed(ThingsPage, "after", to="cursor"), path="/v3"),
        Version("2026-02-01", Added(ThingsPage, "after"), path="/v2"),
        Version("2026-01-01", path="/v1"),
    )
    settings = Settings(services=services.settings, log_level="CRITICAL")
    app = create_bff("old", settings=settings, clients=[Service], transport=services.transport, versions=versions)
    app.page("/things", ThingsPage, public=True)
    async with bff_client(app) as client:
        links = [(await client.get(f"/v{number}/things?limit=2")).headers.get("link") for number in (3, 2, 1)]
        assert links == ['<?limit=2&cursor=c%202>; rel="next"', '<?limit=2&after=c%202>; rel="next"', None]
        second = await client.get(following(await client.get("/v2/things?limit=2")) or "")
        assert second.json()["items"] == [2, 3]


@given(st.binary(max_size=60), st.text(max_size=20))
def test_any_query_and_cursor_make_a_link(query: bytes, cursor: str) -> None:
    try:
        cursor.encode()
    except UnicodeEncodeError:
        return
    _, value = next_link(query, cursor)
    text = value.decode("ascii")
    assert re.fullmatch(r'<\?[!#-;=?-~]*>; rel="next"', text), "one reference, which nothing can break out of"
    url = text[1 : text.index(">")]
    assert "#" not in url
    assert parse_qs(urlsplit(url).query, keep_blank_values=True, separator="&").get("cursor") == [cursor]


@pytest.mark.parametrize(
    ("asked", "headers", "width"),
    [
        ("", {}, 160),
        ("?dpr=1", {}, 160),
        ("?dpr=1.5", {}, 320),
        ("?dpr=2", {}, 320),
        ("?dpr=4", {}, 480),
        ("", {"sec-ch-dpr": "3"}, 480),
        ("", {"sec-ch-dpr": "nan"}, 160),
        ("", {"sec-ch-dpr": "1e9"}, 160),
        ("", {"sec-ch-dpr": "two"}, 160),
        ("?dpr=1", {"sec-ch-dpr": "3"}, 160),
        ("?dpr=3", {"save-data": "on"}, 160),
        ("?dpr=3", {"save-data": " ON;x"}, 160),
        ("?dpr=3", {"save-data": "?0"}, 480),
    ],
)
async def test_images_fit_the_screen(
    client: httpx.AsyncClient, asked: str, headers: dict[str, str], width: int
) -> None:
    response = await client.get(f"/picture{asked}", headers=headers)
    assert response.json() == {"url": f"{width}.jpg"}
    assert response.headers["accept-ch"] == "sec-ch-dpr"
    assert {"save-data", "sec-ch-dpr"} <= {name.strip() for name in response.headers["vary"].split(",")}


@pytest.mark.parametrize("dpr", ["0", "-1", "nan", "inf", "11", "x"])
async def test_a_density_that_is_none(client: httpx.AsyncClient, dpr: str) -> None:
    assert (await client.get(f"/picture?dpr={dpr}")).status_code == 422


@given(st.none() | st.floats(0.5, 10), st.none() | st.text(max_size=8), st.none() | st.sampled_from(["on", "off"]))
def test_densities_have_bounds(dpr: float | None, hint: str | None, save_data: str | None) -> None:
    found = density_of(dpr, hint, save_data)
    assert 0.5 <= found <= (1 if save_data == "on" else 10)


@given(st.lists(st.integers(1, 2000)), st.floats(1, 3000))
def test_the_narrowest_that_is_wide_enough(widths: list[int], pixels: float) -> None:
    picked = pick_variant(widths, int, pixels)
    if not widths:
        assert picked is None
    elif max(widths) < pixels:
        assert picked == max(widths)
    else:
        assert picked is not None
        assert picked >= pixels
        assert not any(pixels <= width < picked for width in widths)
