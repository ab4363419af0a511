"""Draws docs/images/failing-call.svg: one page over services that fail, as it really went.

``python -m bench.timeline``. The services are hostile servers on loopback; every exchange is recorded at the wire.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bff_core import (
    Event,
    Page,
    Policy,
    RetryPolicy,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    optional,
)
from bff_core.errors import ServiceError
from bff_core.testing import HostileServer, bff_client, refused_port
from bff_core.wire import Done, Exchange, Streamed, Wire, WireResponse

TARGET = Path(__file__).parents[1] / "docs" / "images" / "failing-call.svg"


class Ok(BaseModel):
    ok: bool


class Catalog(ServiceClient, service="catalog"):
    @get("/ok")
    async def product(self) -> Ok: ...


class Stock(ServiceClient, service="stock"):
    @get("/flaky")
    async def level(self) -> Ok: ...


class Reviews(ServiceClient, service="reviews"):
    @get("/never")
    async def latest(self) -> Ok: ...


class Offers(ServiceClient, service="offers"):
    @get("/ok")
    async def mine(self) -> Ok: ...


class ProductPage(Page):
    product = optional(Catalog.product)
    stock = optional(Stock.level)
    reviews = optional(Reviews.latest, timeout=0.7)
    offers = optional(Offers.mine)


@dataclass
class Bar:
    """One exchange: from when to when (seconds since the page began), and how it ended."""

    service: str
    start: float
    end: float = 0.0
    outcome: str = ""


class Recorder:
    """A wire that notes what goes over another."""

    def __init__(self, service: str, inner: Wire, bars: list[Bar], origin: list[float]) -> None:
        self._service = service
        self._inner = inner
        self._bars = bars
        self._origin = origin

    @property
    def in_flight(self) -> int:
        return self._inner.in_flight

    def send(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        timeout: float,
        done: Done,
        *,
        repeatable: bool = True,
        hurried: bool = False,
    ) -> Exchange:
        bar = Bar(self._service, time.monotonic() - self._origin[0])
        self._bars.append(bar)

        def noted(response: WireResponse | None, error: ServiceError | None) -> None:
            bar.end = time.monotonic() - self._origin[0]
            bar.outcome = str(response.status) if response is not None else error.kind if error is not None else "?"
            done(response, error)

        return self._inner.send(method, target, headers, body, timeout, noted, repeatable=repeatable, hurried=hurried)

    def stream(self, *args: Any, **options: Any) -> Streamed:
        return self._inner.stream(*args, **options)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def record() -> tuple[list[Bar], list[tuple[float, Event]], float, str]:
    """One request for the page; its exchanges, events, length and answer."""
    bars: list[Bar] = []
    events: list[tuple[float, Event]] = []
    origin = [0.0]
    async with HostileServer() as hostile:
        policy = Policy(timeout=0.4, retry=RetryPolicy(base=0.2, cap=0.2))
        urls = {"catalog": hostile.url, "stock": hostile.url, "reviews": hostile.url}
        urls["offers"] = f"http://127.0.0.1:{refused_port()}"
        services = {name: ServiceSettings(url=url, policy=policy) for name, url in urls.items()}
        app = create_bff(
            "timeline",
            settings=Settings(services=services, log_level="CRITICAL"),
            clients=[Catalog, Stock, Reviews, Offers],
        )
        for name, upstream in app.upstreams.items():
            upstream.wire = Recorder(name, upstream.wire, bars, origin)
        app.events.subscribe(lambda event: events.append((time.monotonic() - origin[0], event)))
        app.page("/product", ProductPage, public=True)
        async with bff_client(app) as client:
            origin[0] = time.monotonic()
            answer = await client.get("/product")
            length = time.monotonic() - origin[0]
            hostile.release.set()
    return bars, events, length, answer.text


def draw(bars: list[Bar], events: list[tuple[float, Event]], length: float, answer: str) -> str:
    """The picture: a lane per service, a bar per attempt, a mark per decision."""
    lanes = ["catalog", "stock", "reviews", "offers"]
    left, width, lane = 90, 700, 74
    height = 60 + lane * len(lanes) + 70

    def x(seconds: float) -> float:
        return left + seconds / length * width

    parts = [f'<line class="axis" x1="{left}" y1="40" x2="{left + width}" y2="40"/>']
    step = 0.1
    parts += [
        f'<text class="s" x="{x(tick * step):.1f}" y="30" text-anchor="middle">{tick * step * 1000:.0f} ms</text>'
        f'<line class="axis" x1="{x(tick * step):.1f}" y1="36" x2="{x(tick * step):.1f}" y2="{height - 66}"/>'
        for tick in range(int(length / step) + 1)
    ]
    for row, name in enumerate(lanes):
        top = 56 + row * lane
        parts.append(f'<text class="t" x="12" y="{top + 18}">{name}</text>')
        for bar in (bar for bar in bars if bar.service == name):
            kind, end = "good" if bar.outcome == "200" else "bad", bar.end or length
            wide = x(end) - x(bar.start) > 80
            place = f'x="{x(bar.start) + 8:.1f}" class="in"' if wide else f'x="{x(end) + 5:.1f}" class="s"'
            parts.append(
                f'<rect class="{kind}" x="{x(bar.start):.1f}" y="{top}" height="24" rx="4" '
                f'width="{max(3.0, x(end) - x(bar.start)):.1f}"/>'
                f'<text {place} y="{top + 16}">{escape(bar.outcome.removeprefix("connect_"))}</text>'
            )
        told = [(at, event) for at, event in events if event.pipeline == name]
        for order, (at, event) in enumerate(told):
            label = f"{event.name}, {event.detail}" if event.name == "OnRetry" else event.name
            spot, anchor = (x(at), "start") if x(at) < left + width - 120 else (left + width + 20.0, "end")
            parts.append(
                f'<text class="e" x="{spot:.1f}" y="{top + 37 + 11 * (order % 3)}" text-anchor="{anchor}">'
                f"{'▲ ' if anchor == 'start' else ''}{escape(label)}{' ▲' if anchor == 'end' else ''}</text>"
            )
    shown = answer if len(answer) < 110 else answer[:109] + "…"
    parts.append(f'<text class="s" x="12" y="{height - 40}">answer after {length * 1000:.0f} ms:</text>')
    parts.append(f'<text class="m" x="12" y="{height - 20}">{escape(shown)}</text>')
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1d2733}.t{font-weight:600}.s{font-size:11px;fill:#5b6876}"
        ".e{font-size:10px;fill:#a35200}.m{font:12px ui-monospace,monospace}.axis{stroke:#d5dce4}"
        ".in{font-size:11px;fill:#fff}.good{fill:#2e9e5b}.bad{fill:#d65a4a}"
        "@media(prefers-color-scheme:dark){text{fill:#e8edf3}.s{fill:#9fb0c3}.e{fill:#ffb86b}.in{fill:#fff}.axis{stroke:#33404e}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}" role="img" '
        f'aria-label="The time line of a page whose services fail"><style>{style}</style>' + "".join(parts) + "</svg>\n"
    )


if __name__ == "__main__":
    TARGET.write_text(draw(*asyncio.run(record())))
    print(f"wrote {TARGET.relative_to(Path.cwd())}")
