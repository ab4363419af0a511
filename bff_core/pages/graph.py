"""A page's graph, drawn: what runs at once, what waits for what, what may fail."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import fmean
from typing import Protocol

__all__ = ["mermaid", "svg"]

BOX, HEIGHT, LANE, GAP_X, GAP_Y, MARGIN = 264, 54, 8, 70, 22, 20
REQUEST, ANSWER = 90, 150


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
        lines.append(f'  {_id(section.name)}["{_quoted(section.name)}<br/>{_quoted(section.target)}"]')
        sources = [_id(name) for name in section.depends_on] or ["request"]
        lines += [f"  {source} --> {_id(section.name)}" for source in sources]
        if section.name not in used:
            lines.append(f"  {_id(section.name)} {'-->' if section.required else '-.->'} answer")
    if dashed := [_id(section.name) for section in plan.sections if not section.required]:
        lines += ["  classDef optional stroke-dasharray: 5 4", f"  class {','.join(dashed)} optional"]
    return "\n".join(lines) + "\n"


def _id(name: str) -> str:
    # A section may have the name of one of Mermaid's own words (end, class, subgraph) or of one of the two pills.
    return f"s_{name}"


def _quoted(text: str) -> str:
    return escape(text).replace("{", "#123;").replace("}", "#125;")


def svg(plan: DrawnPlan, *, styled: bool = True) -> str:
    """The graph as an SVG picture for light and dark pages; a column for each step, optional sections dashed.

    Without its style it is for a page that has one; a section's ``<g>`` has its name in ``data-section``.
    """
    depth = _depth(plan.sections)
    answer = max(depth.values()) + 1
    rows = _rows(plan.sections, depth, answer)
    left = [MARGIN + REQUEST + GAP_X + column * (BOX + GAP_X) for column in range(answer + 1)]
    middle = max(rows.values()) + HEIGHT / 2 + MARGIN
    width, height = left[answer] + ANSWER + MARGIN, 2 * middle
    used = {name for section in plan.sections for name in section.depends_on}

    def edge(source: str, column: int, y: float, *, dashed: bool = False) -> str:
        points = []
        for at in range(depth[source], column):
            lane = middle + rows[source, at]
            points += [(left[at], lane), (left[at] + BOX, lane)]
        return _edge([*points[1:], (left[column], y)], dashed=dashed)

    edges, boxes = [], [_pill(MARGIN, middle, REQUEST, "request"), _pill(left[answer], middle, ANSWER, plan.name)]
    for section in plan.sections:
        column = depth[section.name]
        x, y = left[column], middle + rows[section.name, column]
        edges += [edge(source, column, y) for source in section.depends_on]
        if not section.depends_on:
            edges.append(_edge([(MARGIN + REQUEST, middle), (x, y)]))
        if section.name not in used:
            edges.append(edge(section.name, answer, middle, dashed=not section.required))
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


def _depth(sections: Sequence[DrawnSection]) -> dict[str, int]:
    """Each section's column: how many others stand before it on the longest way."""
    depth: dict[str, int] = {}
    for section in sections:
        depth[section.name] = 1 + max((depth[name] for name in section.depends_on), default=-1)
    return depth


def _rows(sections: Sequence[DrawnSection], depth: dict[str, int], answer: int) -> dict[tuple[str, int], float]:
    """Where in its column each section's box is, and where its edges cross each later column: in a lane between the
    boxes. Pixels from the middle, by section and column; a box or lane is near what leads to it."""
    needs = {section.name: section.depends_on for section in sections}
    reach = {name: max((depth[other] for other in needs if name in needs[other]), default=answer) for name in needs}
    rows: dict[tuple[str, int], float] = {}
    for column in range(answer):
        slots = [name for name in needs if depth[name] <= column < reach[name]]
        if column:
            before = {name: needs[name] if depth[name] == column else (name,) for name in slots}
            near = {name: fmean(rows[other, column - 1] for other in before[name]) for name in slots}
            slots.sort(key=near.__getitem__)
        heights = [HEIGHT if depth[name] == column else LANE for name in slots]
        top = -(sum(heights) + GAP_Y * (len(slots) - 1)) / 2
        for name, height in zip(slots, heights, strict=True):
            rows[name, column] = top + height / 2
            top += height + GAP_Y
    return rows


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


def _edge(points: Sequence[tuple[float, float]], *, dashed: bool = False) -> str:
    """A line through ``points``: curved between columns, straight through a lane, curved again …"""
    path = ""
    for (x1, y1), (x2, y2) in zip(points[::2], points[1::2], strict=True):
        bend = (x2 - x1) / 2
        path += f"{'L' if path else 'M'}{x1:.1f} {y1:.1f}"
        path += f"C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="{"e o" if dashed else "e"}" d="{path}"/>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
