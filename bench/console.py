"""The documents' pictures of the console: the shop with some bad luck, as a real browser shows it.

``python -m bench.console``; needs Chromium, and takes two minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from bff_core.cli.config import PORT_BASE, load_project
from bff_core.cli.supervisor import Supervisor
from shop.seed import seed
from shop.services.identity import issue_token
from tests.ops.browser import chromium, open_browser

BASE = 31_000
LENGTH = 110
IMAGES = Path("docs/images")
PATHS = [*(f"/api/products/p{number}" for number in range(1, 200)), "/api/search?q=lamp", "/api/home", "/api/orders"]
STORY: list[tuple[float, str, dict[str, Any]]] = [
    (10, "recommendations", {"latency_ms": 60, "jitter_ms": 50}),
    (25, "reviews", {"error_rate": 0.2}),
    (40, "reviews", {}),
    (60, "orders", {"latency_ms": 30, "jitter_ms": 20, "error_rate": 0.05}),
    (85, "inventory", {"down": True}),
]


async def visitors(client: httpx.AsyncClient, token: str, until: float) -> None:
    """Ask for pages, one after the other."""
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            await client.get(random.choice(PATHS), headers={"authorization": f"Bearer {token}"})
        await asyncio.sleep(random.expovariate(30))


async def story(client: httpx.AsyncClient, started: float) -> None:
    """What goes wrong, and when."""
    ports = {name: service.port - PORT_BASE + BASE for name, service in load_project().services.items()}
    for at, service, faults in STORY:
        await asyncio.sleep(max(0.0, started + at - time.monotonic()))
        await client.put(f"http://127.0.0.1:{ports[service]}/_faults", json=faults)


def pictures(binary: str, url: str) -> None:
    """Both schemes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, open_browser(binary, Path(folder)) as tab:
        for scheme in ("light", "dark"):
            tab.do("Emulation.setScrollbarsHidden", hidden=True)
            tab.look(url, dark=scheme == "dark", width=1280, height=1400)
            tab.until("document.getElementById('link').textContent === 'live'", "the console is live")
            time.sleep(1.5)
            tab.screenshot(IMAGES / f"console-{scheme}.png", whole=False)


async def main() -> int:
    """Run the shop, the visitors and the story; take the pictures."""
    binary = chromium()
    if binary is None:
        print("there is no Chromium on this machine: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SHOP_DATA"] = folder
        seed(Path(folder))
        supervisor = Supervisor(load_project(), BASE, lambda *_: None)
        await supervisor.start(lambda _: None)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{BASE + 2}", timeout=5) as client:
                started = time.monotonic()
                happening = asyncio.create_task(story(client, started))
                token = issue_token(Path(folder), "u1")
                asking = [asyncio.create_task(visitors(client, token, started + LENGTH)) for _ in range(3)]
                await asyncio.sleep(LENGTH - 15)
                await asyncio.to_thread(pictures, binary, f"http://127.0.0.1:{BASE + 102}/console")
                await asyncio.gather(happening, *asking)
        finally:
            await supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
