"""The tables of docs/performance.md, made of bench/results.json: ``python -m bench.tables``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .chart import NAMES

__all__ = ["render", "table", "write"]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results.json"
DOCUMENT = ROOT / "docs" / "performance.md"
ORDER = list(NAMES)
SCENARIOS = "abcdef"


def write() -> None:
    """Put the tables where the document has their marks."""
    DOCUMENT.write_text(render(DOCUMENT.read_text(), json.loads(RESULTS.read_text())))


def render(text: str, results: dict[str, Any]) -> str:
    """``text`` with the tables of ``results`` between their marks."""
    for name in SCENARIOS:
        if name in results:
            made = table(name, results[name])
            text = re.sub(rf"(<!-- bench {name} -->\n).*?(<!-- end -->)", rf"\1{made}\n\2", text, flags=re.DOTALL)
    return text


def table(name: str, rows: dict[str, Any]) -> str:
    """What was measured in scenario ``name``, in Markdown."""
    make = {"a": _pages, "b": _pages, "c": _sections, "d": _tail, "e": _overload, "f": _streams}[name]
    return make(rows)


def _table(*rows: tuple[str, ...]) -> str:
    head, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|---" + "|---:" * (len(rows[0]) - 1) + "|", *rest])


def _pages(rows: dict[str, Any]) -> str:
    ours = rows["ours"]["cpu_us_per_page"]
    lines = [("", "CPU µs per page", "of ours", "pages/s", "p50 ms", "p99 ms", "peak MB")]
    for peer in ORDER:
        row = rows[peer]
        if "skipped" in row:
            lines.append((NAMES[peer], f"skipped: {row['skipped']}", "", "", "", "", ""))
            continue
        cpu = row["cpu_us_per_page"]
        figures = (f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.1f}", f"{row['peak_mb']:.0f}")
        lines.append((NAMES[peer], f"{cpu:,.0f}", f"{cpu / ours:.2f}", f"{row['pages_per_s']:,.0f}", *figures))
    return _table(*lines)


def _sections(rows: dict[str, Any]) -> str:
    counts = list(rows["ours"]["cpu_us_by_sections"])
    lines: list[tuple[str, ...]] = [("sections", *map(str, counts), "a further one")]
    for peer in ORDER:
        if "cpu_us_by_sections" in rows[peer]:
            cost = [f"{value:.0f}" for value in rows[peer]["cpu_us_by_sections"].values()]
            lines.append((NAMES[peer], *cost, f"{rows[peer]['us_per_section']:.1f} µs"))
        elif "were errors" in rows[peer]["skipped"]:
            lines.append((NAMES[peer], *[""] * len(counts), rows[peer]["skipped"].rstrip(":")))
    return _table(*lines)


def _tail(rows: dict[str, Any]) -> str:
    lines = [("", "p50 ms", "p99 ms", "CPU µs per page")]
    for name, row in (("without hedging", rows["ours"]), ("with hedging", rows["ours_hedged"])):
        lines.append((name, f"{row['p50_ms']:.1f}", f"{row['p99_ms']:.0f}", f"{row['cpu_us_per_page']:.0f}"))
    return _table(*lines)


def _overload(rows: dict[str, Any]) -> str:
    lines: list[tuple[str, ...]]
    lines = [("", "offered/s", "good/s", "refused/s", "failed/s", "good of capacity", "p99 ms of the good")]
    for peer in ORDER:
        row = rows[peer]
        if "offered_per_s" in row:
            figures = [f"{row[key]:,.0f}" for key in ("offered_per_s", "good_per_s", "refused_per_s", "failed_per_s")]
            lines.append((NAMES[peer], *figures, f"{row['goodput_of_capacity']:.0%}", f"{row['p99_ms']:.0f}"))
    return _table(*lines)


def _streams(rows: dict[str, Any]) -> str:
    row = rows["ours"]
    lines = [("body", "CPU µs", "MB/s", "resident MB")]
    lines.append(("before", "", "", f"{row['rss_mb_before']:.0f}"))
    for size, found in row["sizes"].items():
        lines.append((size, f"{found['cpu_us']:,.0f}", f"{found['mb_per_s']:,.0f}", f"{found['rss_mb']:.0f}"))
    return _table(*lines)


if __name__ == "__main__":
    write()
