"""The web front in a real browser, over the running shop; with JavaScript and without."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.ops.browser import Tab

from .conftest import ROOT, Project

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

AUDIT = (Path(__file__).parent / "audit.js").read_text()


class Visitor:
    """Somebody with a browser."""

    def __init__(self, tab: Tab, origin: str) -> None:
        self.tab = tab
        self.origin = origin

    def open(self, path: str) -> None:
        self.tab.run("window.stale = true")
        self.tab.do("Page.navigate", url=self.origin + path)
        self.arrives(path)

    def arrives(self, path: str, what: str = "") -> None:
        """On another page than the ``stale`` one. Without scripts a page with something late asks to be loaded anew, in
        order: it is there after that."""
        at = f"(location.origin + location.pathname + location.search).startsWith({json.dumps(self.origin + path)})"
        whole = "document.readyState === 'complete' && !document.querySelector('meta[http-equiv=refresh]')"
        self.tab.until(f"!window.stale && {whole} && {at}", what or f"{path} is there")

    def press(self, css: str, path: str) -> None:
        """Click, and be on another page afterwards."""
        self.tab.run("window.stale = true")
        self.tab.run(f"document.querySelector({json.dumps(css)}).click()")
        self.arrives(path, f"{css} led to {path}")

    def text(self, css: str) -> str:
        return str(self.tab.run(f"document.querySelector({json.dumps(css)})?.innerText ?? ''"))

    def sign_in(self, css: str, path: str, provider: str) -> None:
        """By this link, as the second guest."""
        shop, self.origin = self.origin, provider
        self.press(css, "/authorize")
        self.origin = shop
        self.press("button[value=u2]", path)


@pytest.fixture
def visitor(tab: Tab, project: Project) -> Visitor:
    tab.do("Network.clearBrowserCookies")
    tab.do("Emulation.setScriptExecutionDisabled", value=False)
    cart = httpx.get(f"{project.url('orders')}/carts/u2").json()
    for line in cart["lines"]:
        httpx.delete(f"{project.url('orders')}/carts/u2/items/{line['product_id']}").raise_for_status()
    tab.problems.clear()
    return Visitor(tab, project.url("web"))


@pytest.mark.parametrize("scripts", [True, False])
def test_signed_in_bought_signed_out(visitor: Visitor, project: Project, scripts: bool) -> None:
    """All of it by links and forms."""
    visitor.tab.do("Emulation.setScriptExecutionDisabled", value=not scripts)
    visitor.open("/products/p1")
    assert "Sign in" in visitor.text("nav")
    visitor.sign_in(".product .button", "/products/p1", project.url("identity"))
    name = httpx.get(f"{project.url('users')}/users/u2").json()["name"]
    assert visitor.text(".who") == name
    visitor.press("form[action='/cart/items'] button", "/cart")
    visitor.open("/products/p2")
    visitor.press("form[action='/cart/items'] button", "/cart")
    assert visitor.tab.run("document.querySelectorAll('.lines li').length") == 2
    visitor.tab.run("document.querySelector('#n1').value = 3")
    visitor.press("form[action='/cart/items/p1'].amount button", "/cart")
    assert visitor.tab.run("document.querySelector('#n1').value") == "3"
    assert visitor.text("form.total p").startswith("4 items")
    visitor.press("form[action='/cart/items/p2'] button[value='0']", "/cart")
    visitor.press("form.total button", "/orders/")
    assert "Thank you" in visitor.text("[role=status]")
    assert visitor.text(".lines .muted").startswith("3 ")
    visitor.open("/cart")
    assert "nothing in it" in visitor.text("main")
    visitor.press("nav a[href='/orders']", "/orders")
    assert visitor.text(".lines .status") == "paid"
    visitor.press(".lines a", "/orders/")
    visitor.press("nav form button", "/")
    assert "Sign in" in visitor.text("nav")
    assert visitor.tab.problems == []
    visitor.open("/orders")
    assert visitor.text("h1") == "Please sign in"
    visitor.sign_in("main .button", "/orders", project.url("identity"))
    assert visitor.text("h1") == "Your orders"


PICTURES = {
    ("/", False, 1000, False): "front-home",
    ("/cart", True, 1000, True): "front-cart-dark",
    ("/products/p1", False, 360, True): "front-product-phone",
}
"""Those of the documents, drawn anew with FRONT_PICTURES=1: path, dark, width, signed in."""
PAGES = ["/", "/products/p1", "/search?q=lamp", "/cart", "/orders", "/orders/none"]


@pytest.mark.parametrize("dark", [False, True])
def test_pages_for_everybody(visitor: Visitor, project: Project, dark: bool, tmp_path: Path) -> None:
    """Landmarks, one heading, labels, contrast, targets that a finger hits, no sideways scrolling on a phone; the same
    signed in and out."""
    visitor.tab.do(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ],
    )
    for signed_in in (False, True):
        if signed_in:
            visitor.open("/products/p1")
            visitor.sign_in(".product .button", "/products/p1", project.url("identity"))
            visitor.press("form[action='/cart/items'] button", "/cart")
        for path in PAGES:
            for width in (1000, 360):
                size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
                visitor.tab.do("Emulation.setDeviceMetricsOverride", **size)
                visitor.open(path)
                seen = json.loads(visitor.tab.run(AUDIT))
                assert seen.pop("title") not in ("", "The shop") or path == "/"
                good = {"lang": "en", "headings": 1, "landmarks": [1, 1, 1, 1], "wide": False}
                assert seen == good | {name: [] for name in ("unlabelled", "mute", "small", "pale")}, (path, width)
                name = PICTURES.get((path, dark, width, signed_in))
                folder = ROOT / "docs/images" if name and os.environ.get("FRONT_PICTURES") else tmp_path
                other = f"{PAGES.index(path)}-{width}-{'in' if signed_in else 'out'}"
                visitor.tab.screenshot(folder / f"{name or other}.png", whole=False)


def test_by_keyboard(visitor: Visitor) -> None:
    """The first stop skips to the content; each further one is seen and in the order of the page."""
    visitor.tab.do("Emulation.setDeviceMetricsOverride", width=1000, height=900, deviceScaleFactor=1, mobile=False)
    visitor.open("/")
    stops = []
    for _ in range(7):
        for kind in ("keyDown", "keyUp"):
            visitor.tab.do("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        assert visitor.tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        stops.append(visitor.tab.run("document.activeElement.innerText || document.activeElement.name"))
    assert stops == ["Skip to the content", "The shop", "q", "Search", "Orders", "Cart", "Sign in"]


def test_nobody_elses_page_is_kept(visitor: Visitor, project: Project) -> None:
    """What shows somebody's name or data must be kept by nobody; other pages say nothing of anybody."""
    jar = httpx.Client(base_url=project.url("web"))
    with jar:
        assert jar.get("/").headers["cache-control"] == "private, no-cache"
        where = jar.get("/auth/login", params={"return_to": "/cart"}).headers["location"]
        form = dict(httpx.URL(where).params)
        back = httpx.post(f"{project.url('identity')}/authorize", data={**form, "user": "u3"}).headers["location"]
        assert jar.get(back).headers["location"] == "/cart"
        for path in ("/", "/products/p1", "/cart", "/orders"):
            answer = jar.get(path)
            assert "Sign out" in answer.text
            assert answer.headers["cache-control"] == "private, no-store", path
