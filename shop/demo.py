"""The shop's own ``bff`` commands: the tour, a token, a key."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import typer
from rich.columns import Columns
from rich.console import Console
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table

from .ports import PORTS
from .seed import default_data
from .services.identity import issue_token

__all__ = ["key", "token", "tour"]

DEMO_PARTNER_KEY = "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"
GATEWAYS = {"mobile": 8001, "web": 8002, "partner": 8003}
RECOVERY = 20.0
PortBase = Annotated[int, typer.Option(help="Where the running project's ports begin.")]
console = Console()


def token(
    user_id: Annotated[str, typer.Argument(help="A seeded user, u1 to u5000.")] = "u1", port_base: PortBase = 8000
) -> None:
    """Print a fresh access token of a seeded user."""
    del port_base  # tokens are good wherever the gateways listen; the option is there for all commands alike
    name = f"u{user_id}" if user_id.isdigit() else user_id
    try:
        typer.echo(issue_token(default_data(), name))
    except LookupError:
        typer.echo(f"there is no user {user_id}; the seeded ones are u1 to u5000", err=True)
        raise typer.Exit(2) from None


def key() -> None:
    """Print the demo partner's API key."""
    typer.echo(DEMO_PARTNER_KEY)


def tour(port_base: PortBase = 8000) -> None:
    """Walk through what each client gets, and what they get when a service dies."""
    with httpx.Client(timeout=10) as client:
        walk = Tour(client, port_base - 8000)
        try:
            walk.pages()
            walk.outage()
        except httpx.ConnectError as error:
            console.print(f"[red]nothing answers at {error.request.url.netloc.decode()}[/]; start it with: bff up")
            raise typer.Exit(1) from None
        finally:
            walk.reset()
    console.print(walk.summary())
    console.print(f'In a browser: [bold]http://127.0.0.1:{GATEWAYS["web"] + port_base - 8000}[/] · click "Sign in"')
    raise typer.Exit(1 if walk.failed else 0)


@dataclass(frozen=True, slots=True)
class Visit:
    """One page, visited: its answer, how long it took, and what the services say they were asked."""

    response: httpx.Response
    milliseconds: float
    calls: dict[str, int]

    @property
    def body(self) -> Any:
        """The JSON document, or the text when it is none."""
        try:
            return self.response.json()
        except ValueError:
            return self.response.text


class Tour:
    """The walk; ``failed`` counts what was not as expected."""

    def __init__(self, client: httpx.Client, offset: int) -> None:
        self._client = client
        self._offset = offset
        self._bearer = {"authorization": f"Bearer {issue_token(default_data(), 'u1')}"}
        self._key = {"x-api-key": DEMO_PARTNER_KEY}
        self.checked = self.failed = 0

    def summary(self) -> str:
        """The last line."""
        if self.failed:
            return f"\n[red bold]{self.failed} of {self.checked} checks were not as expected.[/]"
        return f"\n[green bold]All {self.checked} checks as expected.[/]"

    def expect(self, what: str, seen: object, *, good: bool) -> None:
        """Say what is expected and what was seen."""
        self.checked += 1
        self.failed += not good
        console.print(f"  {'[green]✓[/]' if good else '[red]✗[/]'} {what} [dim]· {seen}[/]", highlight=False)

    def visit(self, gateway: str, path: str, headers: Mapping[str, str] | None = None) -> Visit:
        """Ask for a page, between two looks at the services' own counters."""
        before = self._counts()
        started = time.perf_counter()
        response = self._client.get(f"http://127.0.0.1:{GATEWAYS[gateway] + self._offset}{path}", headers=headers)
        milliseconds = (time.perf_counter() - started) * 1000
        after = self._counts()
        calls = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
        return Visit(response, milliseconds, calls)

    def pages(self) -> None:
        """Every page of every gateway, in one table."""
        self._shapes(
            {
                "mobile": self.visit("mobile", "/products/p1"),
                "web": self.visit("web", "/api/products/p1"),
                "partner v1": self.visit("partner", "/v1/products/p1", self._key),
            }
        )
        table = Table("page", "status", "bytes", "upstream calls", "ms", title="every page, and what it costs")
        visits = {}
        for gateway, path, headers in self._itinerary():
            visit = self.visit(gateway, path, headers)
            visits[f"{gateway} {path}"] = visit
            total = sum(visit.calls.values())
            table.add_row(
                f"{gateway:<7} {path}",
                str(visit.response.status_code),
                f"{len(visit.response.content):,}",
                f"{total}: " + ", ".join(f"{name} {count}" for name, count in sorted(visit.calls.items())),
                f"{visit.milliseconds:.1f}",
            )
        console.print(table)
        wrong = [page for page, visit in visits.items() if visit.response.status_code != 200]  # noqa: PLR2004 - HTTP
        self.expect("every page answers 200", f"{len(visits) - len(wrong)} of {len(visits)}", good=not wrong)
        whole = [page for page, visit in visits.items() if "_degraded" not in visit.body]
        self.expect("and is whole", f"{len(whole)} of {len(visits)}", good=len(whole) == len(visits))
        order = visits["web /api/orders/o1"]
        lines, calls = len(order.body.get("lines", [])), order.calls.get("catalog", 0)
        self.expect("an order of 20 lines asks the catalog once", f"{lines} lines, {calls} call", good=calls == 1)

    def _itinerary(self) -> list[tuple[str, str, Mapping[str, str] | None]]:
        return [
            ("mobile", "/home", self._bearer),
            ("mobile", "/products", None),
            ("mobile", "/products/p1", None),
            ("mobile", "/orders", self._bearer),
            ("mobile", "/orders/o1", self._bearer),
            ("web", "/api/home", self._bearer),
            ("web", "/api/products/p1", None),
            ("web", "/api/orders", self._bearer),
            ("web", "/api/orders/o1", self._bearer),
            ("web", "/api/search?q=lamp", None),
            ("partner", "/v1/products", self._key),
            ("partner", "/v1/products/p1", self._key),
            ("partner", "/v1/orders", self._key),
            ("partner", "/v2/products", self._key),
            ("partner", "/v2/products/p1", self._key),
            ("partner", "/v2/orders", self._key),
        ]

    def _shapes(self, visits: Mapping[str, Visit]) -> None:
        console.rule("one product, three clients")
        panels = [
            Panel(
                JSON(json.dumps(_shortened(visit.body), ensure_ascii=False)),
                title=f"{name} · {len(visit.response.content):,} bytes",
                width=52,
            )
            for name, visit in visits.items()
        ]
        console.print(Columns(panels))
        shapes = {frozenset(visit.body) for visit in visits.values()}
        self.expect("three shapes of one product", f"{len(shapes)} shapes", good=len(shapes) == len(visits))

    def outage(self) -> None:
        """Services go down and come back."""
        console.rule("an outage")
        self.fault("reviews", down=True)
        visit = self.visit("web", "/api/products/p1")
        degraded = visit.body.get("_degraded") if isinstance(visit.body, dict) else None
        self._show("reviews is down", visit, "name", "price", "reviews", "review_summary", "_degraded")
        good = visit.response.status_code == 200 and degraded == ["reviews"]  # noqa: PLR2004 - HTTP
        self.expect("reviews down: the page degrades", f"200, _degraded {degraded}", good=good)
        self.fault("catalog", down=True)
        visit = self.visit("web", "/api/products/p1")
        kind = visit.response.headers.get("content-type")
        self._show("catalog is down", visit)
        good = visit.response.status_code == 503 and kind == "application/problem+json"  # noqa: PLR2004 - HTTP
        self.expect("catalog down: a problem document", f"{visit.response.status_code}, {kind}", good=good)
        self.reset()
        self._recovered()
        visit = self.visit("web", "/api/products/none-such")
        good = visit.response.status_code == 404  # noqa: PLR2004 - HTTP
        self.expect("an unknown product is a 404", visit.response.status_code, good=good)

    def _recovered(self) -> None:
        until = time.monotonic() + RECOVERY
        with console.status("both are back; waiting for a whole page"):
            while time.monotonic() < until:
                visit = self.visit("web", "/api/products/p1")
                if visit.response.is_success and "_degraded" not in visit.body:
                    break
                time.sleep(0.25)
        whole = visit.response.is_success and "_degraded" not in visit.body
        self.expect("both back: the page is whole again", visit.response.status_code, good=whole)

    def _show(self, title: str, visit: Visit, *members: str) -> None:
        shown = {name: visit.body[name] for name in members if name in visit.body} or visit.body
        body = JSON(json.dumps(_shortened(shown), ensure_ascii=False))
        console.print(
            Panel(body, title=f"{title}: {visit.response.status_code} in {visit.milliseconds:.0f} ms", width=80)
        )

    def fault(self, service: str, **faults: Any) -> None:
        """Play an outage of one service."""
        url = f"http://127.0.0.1:{PORTS[service] + self._offset}/_faults"
        self._client.put(url, json=faults).raise_for_status()

    def reset(self) -> None:
        """Every service as it should be, as far as it is there."""
        for service in PORTS:
            try:
                self.fault(service)
            except httpx.HTTPError:
                continue

    def _counts(self) -> dict[str, int]:
        counts = {}
        for service, port in PORTS.items():
            answer = self._client.get(f"http://127.0.0.1:{port + self._offset}/_stats").raise_for_status()
            counts[service] = answer.json()["requests"]
        return counts


def _shortened(value: Any, depth: int = 0) -> Any:
    """``value`` with long texts and lists cut, so that it fits a screen."""
    if isinstance(value, str):
        return value if len(value) <= 40 else value[:39] + "…"  # noqa: PLR2004 - what fits
    if isinstance(value, list):
        return [_shortened(item, depth + 1) for item in value[:1]] + ([f"… {len(value)} in all"] if value[1:] else [])
    if isinstance(value, dict):
        if depth > 1:
            return {name: _shortened(item, depth + 1) for name, item in list(value.items())[:2]}
        return {name: _shortened(item, depth + 1) for name, item in value.items()}
    return value
