"""The drawings of a page's graph."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.pages.graph import mermaid, svg

Point = tuple[float, float]


@dataclass
class Drawn:
    name: str
    required: bool
    target: str
    depends_on: tuple[str, ...]


@dataclass
class DrawnPage:
    name: str
    sections: list[Drawn] = field(default_factory=list)


def drawn(rows: list[tuple[bool, str, set[int]]]) -> list[Drawn]:
    sections: list[Drawn] = []
    for number, (required, target, needs) in enumerate(rows):
        printable = "".join(letter for letter in target if letter.isprintable())
        sections.append(Drawn(f"s{number}", required, printable, tuple(f"s{n}" for n in sorted(needs) if n < number)))
    return sections


@given(
    st.text(min_size=1),
    st.lists(st.tuples(st.booleans(), st.text(), st.sets(st.integers(0, 20))), min_size=1, max_size=12),
)
def test_every_graph_can_be_drawn(title: str, rows: list[tuple[bool, str, set[int]]]) -> None:
    """Whatever the names: well-formed XML, a box for each section, an edge for each dependency."""
    title = "".join(letter for letter in title if letter.isprintable()) or "x"
    sections = drawn(rows)
    page = DrawnPage(title, sections)
    drawing = ET.fromstring(svg(page))
    assert len(drawing.findall(".//{*}g")) == len(sections)
    used = {name for section in sections for name in section.depends_on}
    edges = sum(len(section.depends_on) or 1 for section in sections) + sum(s.name not in used for s in sections)
    assert len(drawing.findall(".//{*}path")) == edges
    assert mermaid(page).count("-->") + mermaid(page).count("-.->") == edges


def along(path: str) -> Iterator[Point]:
    """Points of a drawn line, close to each other."""
    here: Point = (0, 0)
    for command, numbers in re.findall(r"([MLC])([^MLC]*)", path):
        values = [float(number) for number in numbers.split()]
        points = [here, *zip(values[::2], values[1::2], strict=True)]
        for step in range(33) if command != "M" else ():
            inner, t = points, step / 32
            while len(inner) > 1:  # de Casteljau
                inner = [(x1 + (x2 - x1) * t, y1 + (y2 - y1) * t) for (x1, y1), (x2, y2) in pairwise(inner)]
            yield inner[0]
        here = points[-1]


@given(st.lists(st.tuples(st.booleans(), st.just("GET /"), st.sets(st.integers(0, 20))), min_size=1, max_size=12))
def test_no_edge_runs_behind_a_box(rows: list[tuple[bool, str, set[int]]]) -> None:
    """Whatever depends on whatever: an edge only touches the boxes it connects, and all of it is in the picture."""
    drawing = ET.fromstring(svg(DrawnPage("Page", drawn(rows))))
    boxes = [
        [float(box.attrib[name]) for name in ("x", "y", "width", "height")] for box in drawing.findall(".//{*}rect")
    ]
    assert len(boxes) == len(rows) + 2
    for path in drawing.findall(".//{*}path"):
        for x, y in along(path.attrib["d"]):
            assert not any(bx < x < bx + width and by < y < by + height for bx, by, width, height in boxes)
            assert 0 < x < float(drawing.attrib["width"])
            assert 0 < y < float(drawing.attrib["height"])


@given(st.lists(st.tuples(st.booleans(), st.just("GET /"), st.sets(st.integers(0, 20))), min_size=1, max_size=12))
def test_boxes_do_not_overlap(rows: list[tuple[bool, str, set[int]]]) -> None:
    """Not even nearly."""
    drawing = ET.fromstring(svg(DrawnPage("Page", drawn(rows))))
    places = [(float(box.attrib["x"]), float(box.attrib["y"])) for box in drawing.findall(".//{*}g/{*}rect")]
    for x, y in places:
        assert sorted(other for column, other in places if column == x and abs(other - y) < 60) == [y]


@pytest.mark.parametrize(
    "name", ["end", "graph", "subgraph", "class", "classDef", "click", "style", "default", "request", "answer"]
)
def test_a_section_may_have_any_name(name: str) -> None:
    """No id in a Mermaid drawing is one of its own words, or that of the request or the answer."""
    page = DrawnPage("Page", [Drawn(name, False, "catalog GET /", ()), Drawn("other", True, "", (name,))])
    assert mermaid(page).splitlines() == [
        "flowchart LR",
        '  request(["request"])',
        '  answer(["Page"])',
        f'  s_{name}["{name}<br/>catalog GET /"]',
        f"  request --> s_{name}",
        '  s_other["other<br/>"]',
        f"  s_{name} --> s_other",
        "  s_other --> answer",
        "  classDef optional stroke-dasharray: 5 4",
        f"  class s_{name} optional",
    ]
