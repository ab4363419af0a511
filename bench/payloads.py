"""What the mobile pages weigh, beside the web pages and the services' own JSON: the table in docs/lean.md.

``python -m bench.payloads`` against the running shop (``bff up``); ``--write`` puts the table into the document.
"""

from __future__ import annotations

import argparse
import os
import re
import timeit
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from bff_core.delivery import Codings, entity_tag
from shop.ports import PORTS
from shop.services.identity import issue_token

DOCUMENT = Path(__file__).parents[1] / "docs" / "lean.md"
BEGIN, END = "<!-- python -m bench.payloads --write -->\n", "<!-- end -->\n"
USER = "u7"  # whom no other test of the running shop writes to
CATEGORY = "lighting"
CODING = "br"
MINIMUM = 512
TOP = "| page | mobile | with br | web | with br | services | with br |\n|---|---:|---:|---:|---:|---:|---:|\n"


@dataclass
class Row:
    """Bytes of JSON, plain and with brotli, as they go over the wire."""

    page: str
    mobile: tuple[int, int]
    web: tuple[int, int]
    services: tuple[int, int]

    @property
    def numbers(self) -> tuple[int, ...]:
        return (*self.mobile, *self.web, *self.services)


class Shop:
    """The running shop at ``port_base``; its data are in ``data``."""

    def __init__(self, port_base: int, data: Path) -> None:
        self._ports = {name: port - 8000 + port_base for name, port in {"mobile": 8001, "web": 8002, **PORTS}.items()}
        self._headers = {"authorization": f"Bearer {issue_token(data, USER)}"}
        self._coding = Codings((CODING,), MINIMUM).choose(CODING.encode())

    def json(self, name: str, path: str) -> httpx.Response:
        """An answer, plain."""
        answer = self._get(name, path, "identity")
        answer.raise_for_status()
        return answer

    def weigh(self, name: str, path: str) -> tuple[int, int]:
        """The content's length without and with a coding, as the gateway sends it."""
        lengths = [int(self._get(name, path, coding).headers["content-length"]) for coding in ("identity", CODING)]
        return lengths[0], lengths[1]

    def services(self, calls: Iterable[tuple[str, str]]) -> tuple[int, int]:
        """The same of the services' answers, compressed as a gateway would."""
        plain = coded = 0
        for name, path in calls:
            content = self.json(name, path).content
            plain += len(content)
            if self._coding is None or len(content) < MINIMUM:
                coded += len(content)
            else:
                coded += len(self._coding.compress(content))
        return plain, coded

    def _get(self, name: str, path: str, coding: str) -> httpx.Response:
        headers = {**self._headers, "accept-encoding": coding}
        return httpx.get(f"http://127.0.0.1:{self._ports[name]}{path}", headers=headers, timeout=20)


def measure(port_base: int, data: Path) -> list[Row]:
    """A row for each page of the app."""
    shop = Shop(port_base, data)
    order = shop.json("orders", f"/orders?user_id={USER}&limit=1").json()["items"][0]
    lines = "&".join(f"ids={line['product_id']}" for line in order["lines"])
    recommended = shop.json("recommendations", f"/users/{USER}/recommendations?limit=4").json()["items"]
    cards = "&".join(f"ids={entry['product_id']}" for entry in recommended)
    pages: list[tuple[str, str, str, list[tuple[str, str]]]] = [
        ("product", "/products/p1", "/api/products/p1", [("catalog", "/products/p1")]),
        (
            "20 products",
            f"/products?category={CATEGORY}",
            f"/api/search?q={CATEGORY}",
            [("catalog", f"/products?limit=20&category={CATEGORY}")],
        ),
        (
            "home",
            "/home",
            "/api/home",
            [
                ("users", f"/users/{USER}"),
                ("orders", f"/orders?user_id={USER}&limit=3"),
                ("notifications", f"/users/{USER}/notifications?limit=10"),
                ("recommendations", f"/users/{USER}/recommendations?limit=4"),
                ("catalog", f"/products?{cards}"),
            ],
        ),
        ("orders", "/orders", "/api/orders", [("orders", f"/orders?user_id={USER}&limit=20")]),
        (
            "order",
            f"/orders/{order['id']}",
            f"/api/orders/{order['id']}",
            [("orders", f"/orders/{order['id']}?user_id={USER}"), ("catalog", f"/products?{lines}")],
        ),
    ]
    return [
        Row(page, shop.weigh("mobile", mobile), shop.weigh("web", web), shop.services(calls))
        for page, mobile, web, calls in pages
    ]


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    return TOP + "".join(f"| {row.page} | " + " | ".join(f"{n:,}" for n in row.numbers) + " |\n" for row in rows)


def cost(name: str, content: bytes) -> str:
    """Microseconds that the entity tag and each coding of this content take."""

    def spent(call: Callable[[], object]) -> str:
        return f"{min(timeit.repeat(call, number=200, repeat=7)) / 200 * 1e6:.1f} µs"

    parts = [f"entity tag {spent(lambda: entity_tag(content))}"]
    for name_of, coding in [(name, Codings((name,), 1).choose(name.encode())) for name in ("zstd", "br", "gzip")]:
        if coding is not None:
            compress = partial(coding.compress, content)
            parts.append(f"{name_of} {len(compress()):,} bytes {spent(compress)}")
    return f"{name}, {len(content):,} bytes: " + ", ".join(parts)


def documented() -> dict[str, tuple[int, ...]]:
    """The numbers that docs/lean.md has, by page."""
    found = re.search(re.escape(BEGIN) + "(.*?)" + re.escape(END), DOCUMENT.read_text(), re.DOTALL)
    lines = found[1].splitlines()[2:] if found else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {page: tuple(int(number.replace(",", "")) for number in numbers) for page, *numbers in cells}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-base", type=int, default=8000)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SHOP_DATA", ".shop")))
    parser.add_argument("--write", action="store_true", help="put the table into docs/lean.md")
    arguments = parser.parse_args()
    found = table(measure(arguments.port_base, arguments.data))
    print(found)
    shop = Shop(arguments.port_base, arguments.data)
    for name, gateway, path in [
        ("mobile product", "mobile", "/products/p1"),
        ("mobile products", "mobile", "/products"),
        ("web home", "web", "/api/home"),
    ]:
        print(cost(name, shop.json(gateway, path).content))
    if arguments.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(before + BEGIN + found + END + after)


if __name__ == "__main__":
    main()
