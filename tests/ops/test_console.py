"""The console in a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bff_core import Bff, Page, ServiceClient, Settings, create_bff, get, optional
from bff_core.ops.page import PAGE
from bff_core.telemetry import Event
from bff_core.testing import FakeServices, bff_client
from tests.ops.browser import Tab, chromium
from tests.ops.shop import make_gateway, play, visit

LIVE = "document.getElementById('link').textContent === 'live'"


@pytest.fixture(autouse=True)
def nothing_red(request: pytest.FixtureRequest) -> Iterator[None]:
    """No error and no violation of the page's policy, and nothing asked for but the page and its stream."""
    tab = request.getfixturevalue("tab") if "tab" in request.fixturenames else None
    if tab is not None:
        tab.forget()
    yield
    if tab is not None:
        assert tab.problems == []
        assert {re.sub(r"^http://127\.0\.0\.1:\d+", "", url) for url in tab.requests} <= {
            "/console",
            "/console/stream",
            "data:,",
        }


@asynccontextmanager
async def served(app: Bff) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A client of the gateway, and the address of its console."""
    async with bff_client(app) as client:
        assert app.operations.server is not None
        assert app.operations.server.address is not None
        yield client, f"http://127.0.0.1:{app.operations.server.address[1]}/console"


async def in_browser(check: Callable[[], None]) -> None:
    """Run what waits for the browser beside the gateway's loop."""
    await asyncio.to_thread(check)


async def test_what_happens_is_seen(tab: Tab) -> None:
    """Services, pages, graph and events of real traffic, and a circuit that opens while one looks."""
    app = make_gateway(play(), ops_port=0)
    async with served(app) as (client, url):
        for number in range(4):
            await visit(client, f"p{number}")
        await visit(client, "broken-1")

        def first() -> None:
            tab.look(url)
            tab.until(LIVE, "live")
            assert tab.run("document.title") == "tested console"
            names = tab.run(
                "[...document.querySelectorAll('#services-rows tr th > span:nth-child(2)')].map(e => e.textContent)"
            )
            assert names == ["catalog", "reviews"]
            assert tab.run("document.querySelectorAll('#pages details').length") == 4
            assert tab.run("document.querySelector('#pages details').open")
            groups = "[...document.querySelectorAll('#pages g[data-section]')].slice(0, 3)"
            classes = f"{groups}.map(g => g.dataset.section + ' ' + g.getAttribute('class'))"
            tab.until(f"{classes}.join() === 'product ok,reviews warn,pair ok'", "the graph has its colours")
            assert "OnFallback" in tab.run("document.getElementById('events-rows').textContent")
            assert tab.run("document.getElementById('services-rows').textContent.includes('catalog.test')")

        await in_browser(first)
        for number in range(20):
            await visit(client, f"broken-{number}")
        for _ in range(5):
            await client.get("/limited/p1")

        def then() -> None:
            chips = "[...document.querySelectorAll('#services-rows .chip')].map(c => c.textContent).join()"
            tab.until(f"{chips} === 'closed,open'", "the open circuit is seen")
            assert "OnCircuitOpened" in tab.run("document.getElementById('events-rows').textContent")
            limits = "document.getElementById('limits-rows').textContent"
            tab.until(f"{limits} === 'two2/week3'", "what a limit denied is seen")
            tab.run("document.getElementById('problems').click()")
            assert tab.run("document.querySelectorAll('#services-rows tr').length") == 1
            tab.run("document.getElementById('problems').click()")

        await in_browser(then)


async def test_data_is_never_markup(tab: Tab) -> None:
    """What comes in as text is shown as text, wherever it stands."""
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    app = make_gateway(play(), ops_port=0)
    async with served(app) as (_, url):
        app.events.emit(Event(evil, "warning", evil, evil, evil, detail=evil))

        def check() -> None:
            tab.look(url)
            tab.until(LIVE, "live")
            assert tab.run("document.getElementById('events-rows').textContent").count(evil) >= 3
            assert tab.run("document.querySelectorAll('main img, main script').length") == 0
            assert tab.run("document.title") == "tested console"
            # And if something were: the policy does not let it run.
            blocked = tab.run(
                "new Promise(done => { addEventListener('securitypolicyviolation', e => done(e.effectiveDirective));"
                " const s = document.createElement('script'); s.textContent = 'document.title = \"owned\"';"
                " document.head.append(s); setTimeout(() => done('not blocked'), 2000); })"
            )
            assert blocked.startswith("script-src")
            assert tab.run("document.title") == "tested console"
            assert len(tab.problems) == 1
            tab.problems.clear()

        await in_browser(check)


def crowd(size: int) -> tuple[list[type[ServiceClient]], list[type[Page]]]:
    """So many services, and a page of one section for each of the first ten."""

    async def item(self: ServiceClient, item_id: str) -> dict[str, str]: ...

    clients = [
        type(f"Client{number}", (ServiceClient,), {"item": get("/items/{item_id}")(item)}, service=f"service_{number}")
        for number in range(size)
    ]
    pages = [
        type(f"Page{number}", (Page,), {"item": optional(getattr(client, "item"), fallback={})})  # noqa: B009 - typed so
        for number, client in enumerate(clients[:10])
    ]
    return clients, pages


async def test_fifty_services_two_endpoints_each(tab: Tab) -> None:
    """All of them, to be found by name, in a window that never scrolls sideways; and it fits a telephone."""
    clients, pages = crowd(50)
    services = FakeServices(*[client.service for client in clients], "second")
    for client in clients:
        services[client.service].get("/items/1").respond(json={})
    settings = {
        name: {"url": f"{entry['url']},http://second.test"}
        for name, entry in services.settings.items()
        if name != "second"
    }
    services["second"].get("/items/1").respond(json={})
    app = create_bff(
        "large",
        settings=Settings(services=settings, ops_port=0, log_level="ERROR"),
        clients=clients,
        transport=services.transport,
    )
    for number, page in enumerate(pages):
        app.page(f"/pages/{number}/{{item_id}}", page, public=True)
    async with served(app) as (client, url):
        for number in range(len(pages)):
            for _ in range(3):
                assert (await client.get(f"/pages/{number}/1")).status_code == 200

        def check() -> None:
            tab.look(url)
            tab.until(LIVE, "live")
            assert tab.run("document.querySelectorAll('#services-rows tr.service').length") == 50
            assert tab.run("document.querySelectorAll('#services-rows tr.endpoint').length") == 100
            assert tab.run("document.querySelectorAll('#pages details').length") == 10
            tab.run(
                "(find => { find.value = 'service_49'; find.dispatchEvent(new Event('input')); })"
                "(document.getElementById('find'))"
            )
            assert tab.run("document.querySelectorAll('#services-rows tr.service').length") == 1
            assert tab.run("document.getElementById('services-count').textContent") == "1 of 50"
            assert not tab.run("document.getElementById('pages-empty').hidden")
            for width in (1280, 700, 360):
                tab.look(url, width=width)
                tab.until(LIVE, "live")
                assert tab.run("document.documentElement.scrollWidth") <= width

        await in_browser(check)


async def test_nothing_at_all(tab: Tab) -> None:
    """A gateway without services, pages and events says so, without an error."""
    app = create_bff("empty", settings=Settings(ops_port=0, log_level="ERROR"), clients=[])
    async with served(app) as (_, url):

        def check() -> None:
            tab.look(url)
            tab.until(LIVE, "live")
            text = tab.run("document.querySelector('main').innerText")
            assert tab.run("document.getElementById('limits').hidden")
            for words in ("calls no services", "has no pages", "Nothing has happened yet"):
                assert words in text
            time = "document.querySelector('#tiles').innerText.includes('Requests/s')"
            assert tab.run(time)

        await in_browser(check)


async def test_it_comes_back(tab: Tab) -> None:
    """A gateway that stops is seen to be gone; when one is there again, the console goes on."""
    app = make_gateway(play(), ops_port=0)
    async with served(app) as (_, url):
        await in_browser(lambda: (tab.look(url), tab.until(LIVE, "live"))[0])
    await in_browser(lambda: tab.until("document.body.classList.contains('gone')", "it is seen to be gone"))
    again = make_gateway(play(), ops_port=int(url.rpartition(":")[2].partition("/")[0]))
    async with served(again):
        await in_browser(lambda: tab.until(LIVE, "live again"))
    tab.problems.clear()  # the browser's own, of a connection that was refused


async def test_by_keyboard_and_to_a_screen_reader(tab: Tab) -> None:
    """Tables have captions and headings, pictures have words, pages open with Enter, focus survives a tick."""
    app = make_gateway(play(), ops_port=0)
    async with served(app) as (client, url):
        await visit(client, "p1")

        def press(key: str, code: int, text: str = "") -> None:
            for kind in ("keyDown", "keyUp"):
                tab.do(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    windowsVirtualKeyCode=code,
                    text=text if kind == "keyDown" else "",
                )

        def check() -> None:
            tab.look(url)
            tab.until(LIVE, "live")
            assert tab.run(
                "[...document.querySelectorAll('table')].every(t => t.caption && t.caption.textContent.length > 10)"
            )
            assert tab.run("[...document.querySelectorAll('thead th')].every(h => h.scope === 'col' && h.textContent)")
            assert tab.run("[...document.querySelectorAll('tbody tr')].every(r => r.querySelector('th[scope=row]'))")
            assert tab.run(
                "[...document.querySelectorAll('svg.spark')].every(s => s.getAttribute('aria-label').includes(': '))"
            )
            assert tab.run("document.documentElement.lang") == "en"
            nodes = tab.do("Accessibility.getFullAXTree")["nodes"]
            roles = {node["role"]["value"] for node in nodes if not node.get("ignored")}
            assert {"table", "rowheader", "columnheader", "heading", "main", "banner", "status", "searchbox"} <= roles
            unnamed = [
                node
                for node in nodes
                if not node.get("ignored")
                and node["role"]["value"] in ("image", "searchbox", "checkbox", "table", "region", "link")
                and not node.get("name", {}).get("value")
            ]
            assert unnamed == []
            press("Tab", 9)
            assert tab.run("document.activeElement.className") == "skip"
            tab.run("document.querySelectorAll('#pages summary')[1].focus()")
            press("Enter", 13, "\r")
            assert tab.run("document.querySelectorAll('#pages details')[1].open")
            process = tab.run("state.services[0].points.length")
            tab.until(f"state.services[0].points.length > {process}", "a tick")
            assert tab.run("document.activeElement === document.querySelectorAll('#pages summary')[1]")
            assert tab.run("document.querySelectorAll('#pages details')[1].open")

        await in_browser(check)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """Text is at least 4.5 to 1 on everything it stands on (WCAG 2.2 AA), in both schemes."""
    light, dark = re.findall(r":root \{(.*?)\}", PAGE, re.DOTALL)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", light if scheme == "light" else dark))
    pairs = [(name, ground) for name in ("text", "muted", "accent") for ground in ("bg", "card", "raised")]
    pairs += [(name, ground) for name in ("ok", "warn", "bad") for ground in ("card", "raised", f"{name}-bg")]
    pairs += [("text", f"{name}-bg") for name in ("ok", "warn", "bad")]
    poor = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}


def test_the_skip_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Chromium, the tests are skipped and say what to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert chromium() is None


def test_pictures_are_there() -> None:
    """The documents' pictures of the console, in both schemes."""
    for scheme in ("light", "dark"):
        assert (Path(__file__).parents[2] / "docs" / "images" / f"console-{scheme}.png").is_file()
