"""The benchmark's picture: CPU per page of each peer, as bars on a logarithmic scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

__all__ = ["draw"]

WIDTH, LEFT, ROW = 860, 170, 34
NAMES = {
    "ours": "bff_core",
    "fastapi_httpx": "FastAPI + httpx",
    "fastapi_aiohttp": "FastAPI + aiohttp",
    "pydantic_resolve": "pydantic-resolve",
    "fastify_undici": "Fastify + undici",
    "fastify_fetch": "Fastify + fetch",
    "krakend": "KrakenD (Lura)",
    "nginx_proxy": "nginx, one call",
}


def draw(results: dict[str, Any], file: Path) -> None:
    """Draw scenario (a), and (b) beside it where there is one."""
    parts: list[str] = []
    top = 20
    for name, title in (
        ("a", "CPU per page, distinct keys (µs, log scale)"),
        ("b", "CPU per page, Zipf keys with caching (µs, log scale)"),
    ):
        rows = {peer: row for peer, row in results.get(name, {}).items() if "cpu_us_per_page" in row}
        if not rows:
            continue
        parts.append(f'<text x="20" y="{top + 14}" class="title">{title}</text>')
        top += 30
        most = max(row["cpu_us_per_page"] for row in rows.values())
        ours = rows.get("ours", {}).get("cpu_us_per_page", 1)
        for peer, row in sorted(rows.items(), key=lambda item: item[1]["cpu_us_per_page"]):
            cpu = row["cpu_us_per_page"]
            length = (WIDTH - LEFT - 150) * math.log(max(cpu, 5) / 4) / math.log(most / 4)
            kind = "ours" if peer == "ours" else "peer"
            parts += [
                f'<text x="{LEFT - 10}" y="{top + 17}" class="name">{NAMES[peer]}</text>',
                f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="24" rx="3" class="{kind}"/>',
                (
                    f'<text x="{LEFT + length + 8:.1f}" y="{top + 17}" class="value">'
                    f"{cpu:,.0f} µs · {cpu / ours:.2f}x</text>"
                ),
            ]
            top += ROW
        top += 20
    style = (
        "text{font:14px system-ui,sans-serif;fill:#1f2933}.title{font-weight:600}.name{text-anchor:end}"
        ".ours{fill:#0b7285}.peer{fill:#adb5bd}.value{fill:#495057}"
        "@media(prefers-color-scheme:dark){text{fill:#e9ecef}.value{fill:#ced4da}.peer{fill:#5c6770}.ours{fill:#3bc9db}}"
    )
    file.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" '
        f'aria-label="Benchmark: CPU per page"><style>{style}</style>{"".join(parts)}</svg>\n'
    )
