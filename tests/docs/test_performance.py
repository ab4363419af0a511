"""The benchmark's tables are those of its results."""

from __future__ import annotations

import json
from pathlib import Path

from bench.contestants import PEERS
from bench.tables import DOCUMENT, RESULTS, render


def test_the_tables_are_those_of_the_last_run() -> None:
    text = DOCUMENT.read_text()
    assert render(text, json.loads(RESULTS.read_text())) == text


def test_every_scenario_has_a_row_for_every_peer() -> None:
    results = json.loads(RESULTS.read_text())
    for name in "abcdef":
        assert set(PEERS) <= set(results[name])


def test_the_picture_is_there() -> None:
    assert "bff_core" in (Path(DOCUMENT).parent / "images" / "benchmark.svg").read_text()
