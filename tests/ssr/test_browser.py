"""The web front's product page in a real browser, with one section that comes late."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import httpx
import pytest

from bff_core import Policy, Settings, create_bff
from bff_core.testing import FakeServices
from bffs.web.pages import ProductPage
from shop.clients import Catalog, Inventory, Recommendations, Reviews
from tests.ops.browser import Tab

from .gateway import on_a_socket

ROOT = Path(__file__).parents[2]
DELAY = 2.0
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
BYTE = "performance.getEntriesByType('navigation')[0].responseStart"
AT = "2026-01-01T00:00:00Z"


def product(name: str, key: str) -> dict[str, object]:
    return {
        "id": key, "name": name, "brand": "Lumen", "category": "lamps", "description": "Warm light for a desk.",
        "price": {"amount": 4900, "currency": "EUR"}, "thumbnail": "", "images": [],
        "specifications": [{"name": "Colour", "value": "brass"}, {"name": "Power", "value": "9 W"}], "updated_at": AT,
    }  # fmt: skip


def play() -> FakeServices:
    services = FakeServices("catalog", "reviews", "recommendations", "inventory")
    review = {"id": "r1", "product_id": "p1", "user_id": "u1", "author": "Ada", "rating": 5, "title": "Bright",
              "text": "It lights the whole room.", "created_at": AT}  # fmt: skip
    summary = {"product_id": "p1", "count": 1, "average": 5.0, "histogram": [0, 0, 0, 0, 1]}

    async def late(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(DELAY)
        return httpx.Response(200, json={"items": [review], "next": None, "summary": summary})

    others = [product(name, f"p{number}") for number, name in enumerate(("Bulb", "Shade", "Cable", "Switch"), 2)]
    services["catalog"].get("/products/p1").respond(json=product("Desk lamp", "p1"))
    services["catalog"].get("/products").respond(json={"items": others})
    services["inventory"].get("/stock/p1").respond(json={"product_id": "p1", "available": 7, "warehouse": "north"})
    related = [{"product_id": entry["id"], "score": 3} for entry in others]
    services["recommendations"].get("/products/p1/related").respond(json={"items": related})
    services["reviews"].get("/products/p1/reviews").mock(side_effect=late)
    return services


class SlowProductPage(ProductPage):
    """The web gateway's, with patience for its reviews."""

    reviews = ProductPage.__dict__["reviews"].__class__(
        ProductPage.__dict__["reviews"].target,
        ProductPage.__dict__["reviews"].rules.__class__(required=False, timeout=8.0, feeds=("reviews",)),
        {"limit": 10},
    )


@pytest.mark.parametrize("scripts", [True, False])
async def test_what_is_required_is_painted_long_before_the_rest(tab: Tab, tmp_path: Path, scripts: bool) -> None:
    """First paint within a seventh of the delay after the first byte, by the browser's own clock; then the late part
    takes its place; and the console stays empty."""
    from fastapi.staticfiles import StaticFiles

    services = play()
    app = create_bff(
        "web",
        settings=Settings(services=services.settings, policy=Policy(timeout=8), deadline=10, log_level="CRITICAL"),
        clients=[Catalog, Inventory, Recommendations, Reviews],
        transport=services.transport,
        templates=ROOT / "bffs/web/templates",
    )
    app.html("/products/{product_id}", SlowProductPage, template="product.html", public=True)
    app.mount("/static", StaticFiles(directory=ROOT / "bffs/web/static"))
    pictures = ROOT / "docs/images" if os.environ.get("BFF_PICTURES") else tmp_path

    def look(url: str) -> float:
        tab.problems.clear()
        tab.do("Emulation.setScriptExecutionDisabled", value=not scripts)
        tab.do("Emulation.setDeviceMetricsOverride", width=1000, height=1100, deviceScaleFactor=1, mobile=False)
        tab.do("Page.navigate", url=url)
        tab.until("document.querySelector('h1')?.textContent === 'Desk lamp'", "the shell is there")
        painted = tab.until(PAINT, "it is painted")
        first = painted - tab.run(BYTE)
        assert tab.run("!document.querySelector('.review')"), "the reviews are still to come"
        tab.screenshot(pictures / f"streamed-{'early' if scripts else 'early-no-script'}.png")
        tab.until("document.querySelector('.review h3')?.textContent === 'Bright'", "the late part has come")
        tab.until("document.readyState === 'complete'", "the page has ended")
        if scripts:
            came = tab.run("performance.getEntriesByName('bff:reviews')[0].startTime") - tab.run(BYTE)
            assert came > DELAY * 1000 * 0.8
            assert tab.run("!document.querySelector('[aria-busy]')")
        else:
            assert tab.run("location.search") == "?nojs"
        parent = tab.run("document.querySelector('.review').closest('section').getAttribute('aria-labelledby')")
        assert parent == "reviews"
        tab.screenshot(pictures / f"streamed-{'whole' if scripts else 'whole-no-script'}.png")
        print(json.dumps({"scripts": scripts, "first paint after first byte (ms)": first}))
        assert tab.problems == []
        return float(first)

    async with on_a_socket(app) as origin:
        # The machine is shared: what it can do is what it does once in three times.
        for _ in range(3):
            if await asyncio.to_thread(look, f"{origin}/products/p1") < DELAY * 1000 * 0.15:
                return
    pytest.fail("the shell was never painted early")
