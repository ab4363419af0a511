"""A page's graph, drawn: what runs at once, what waits for what, what may fail."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Protocol

__all__ = ["mermaid", "svg"]

BOX, HEIGHT, GAP_X, GAP_Y, MARGIN = 264, 54, 70, 22, 20


class DrawnSection(Protocol):
    """What is drawn of a section."""

    @property
    def name(self) -> str: ...
    @property
    def required(self) -> bool: ...
    @property
    def target(self) -> str: ...
    @property
    def depends_on(self) -> tuple[str, ...]: ...


class DrawnPlan(Protocol):
    """What is drawn of a plan."""

    @property
    def name(self) -> str: ...
    @property
    def sections(self) -> Sequence[DrawnSection]: ...


def mermaid(plan: DrawnPlan) -> str:
    """The graph as a Mermaid flowchart; optional sections are dashed."""
    lines = ["flowchart LR", '  request(["request"])', f'  answer(["{_quoted(plan.name)}"])']
    used = {name for section in plan.sections for name in section.depends_on}
    for section in plan.sections:
        lines.append(f'  {section.name}["{_quoted(section.name)}<br/>{_quoted(section.target)}"]')
        lines += [f"  {source} --> {section.name}" for source in section.depends_on or ("request",)]
        if section.name not in used:
            lines.append(f"  {section.name} {'-->' if section.required else '-.->'} answer")
    if dashed := [section.name for section in plan.sections if not section.required]:
        lines += ["  classDef optional stroke-dasharray: 5 4", f"  class {','.join(dashed)} optional"]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return escape(text).replace("{", "#123;").replace("}", "#125;")


def svg(plan: DrawnPlan, *, styled: bool = True) -> str:
    """The graph as an SVG picture for light and dark pages; a column for each step, optional sections dashed.

    Without its style it is for a page that has one; a section's ``<g>`` has its name in ``data-section``.
    """
    columns = _columns(plan.sections)
    rows = max(map(len, columns))
    width = MARGIN * 2 + 90 + (len(columns) + 1) * GAP_X + len(columns) * BOX + 150
    height = MARGIN * 2 + rows * (HEIGHT + GAP_Y) - GAP_Y
    middle = height / 2
    places = {
        section.name: (
            MARGIN + 90 + GAP_X + column * (BOX + GAP_X),
            middle + (row - (len(sections) - 1) / 2) * (HEIGHT + GAP_Y),
        )
        for column, sections in enumerate(columns)
        for row, section in enumerate(sections)
    }
    end = width - MARGIN - 150
    used = {name for section in plan.sections for name in section.depends_on}
    edges, boxes = [], [_pill(MARGIN, middle, 90, "request"), _pill(end, middle, 150, plan.name)]
    for section in plan.sections:
        x, y = places[section.name]
        sources = [places[name] for name in section.depends_on]
        edges += [_edge(sx + BOX, sy, x, y) for sx, sy in sources] or [_edge(MARGIN + 90, middle, x, y)]
        if section.name not in used:
            edges.append(_edge(x + BOX, y, end, middle, dashed=not section.required))
        boxes.append(_box(x, y, section))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" '
        f'height="{height:.0f}" role="img" aria-label="The graph of {escape(plan.name)}">\n'
        + (f"<style>{_STYLE}</style>\n" if styled else "")
        + "\n".join([*edges, *boxes])
        + "\n</svg>\n"
    )


_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1d2733}.t{font-weight:600}.s{font-size:11px;fill:#5b6876}"
    ".b{fill:#fff;stroke:#3567d6;stroke-width:1.5}.p{fill:#3567d6}.p+text{fill:#fff}"
    ".o{stroke-dasharray:5 4;stroke:#8a97a6}.e{fill:none;stroke:#8a97a6;stroke-width:1.5}"
    "@media(prefers-color-scheme:dark){text{fill:#e8edf3}.s{fill:#9fb0c3}.b{fill:#1b2430;stroke:#7aa2ff}"
    ".o{stroke:#66778a}.e{stroke:#66778a}}"
)


def _columns(sections: Sequence[DrawnSection]) -> list[list[DrawnSection]]:
    """Sections by how many others stand before them on their longest way."""
    depth: dict[str, int] = {}
    for section in sections:
        depth[section.name] = 1 + max((depth[name] for name in section.depends_on), default=-1)
    columns: list[list[DrawnSection]] = [[] for _ in range(max(depth.values()) + 1)]
    for section in sections:
        columns[depth[section.name]].append(section)
    return columns


def _pill(x: float, y: float, width: int, text: str) -> str:
    return (
        f'<rect class="p" x="{x}" y="{y - 18:.1f}" width="{width}" height="36" rx="18"/>'
        f'<text x="{x + width / 2}" y="{y + 4.5:.1f}" text-anchor="middle">{escape(_short(text, width // 8))}</text>'
    )


def _box(x: float, y: float, section: DrawnSection) -> str:
    kind = "b" if section.required else "b o"
    name, target = escape(_short(section.name, 30)), escape(_short(section.target, 38))
    return (
        f'<g data-section="{escape(section.name)}"><title>{escape(section.target)}</title><rect class="{kind}" '
        f'x="{x}" y="{y - HEIGHT / 2:.1f}" width="{BOX}" height="{HEIGHT}" rx="8"/>'
        f'<text class="t" x="{x + 14}" y="{y - 5:.1f}">{name}</text>'
        f'<text class="s" x="{x + 14}" y="{y + 14:.1f}">{target}</text></g>'
    )


def _edge(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> str:
    bend = max(24.0, (x2 - x1) / 2)
    style = "e o" if dashed else "e"
    return (
        f'<path class="{style}" d="M{x1:.1f} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} '
        f'{x2:.1f} {y2:.1f}"/>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
