"""The command: its configuration, its errors, its drawings."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bff_core import SettingsError
from bff_core.cli.config import load_project
from bff_core.cli.serve import load_app

ROOT = Path(__file__).parents[2]


def bff(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bff_core.cli", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
    )


def test_help_lists_every_command() -> None:
    """The project's own among them."""
    output = bff("--help").stdout
    for command in ("up", "serve", "pages", "policies", "graph", "tour", "token", "key"):
        assert f" {command} " in output


def test_pages() -> None:
    """Every page, its sections, what they call and after what."""
    output = bff("pages", "web").stdout
    assert "GET /api/products/{product_id}" in output
    assert "catalog GET /products/{product_id}" in output
    assert "bought_together" in output
    assert "optional" in output


def test_graph(tmp_path: Path) -> None:
    """One page as Mermaid or SVG; an ambiguous or unknown name lists what there is."""
    assert bff("graph", "SearchPage").stdout.startswith("flowchart LR")
    target = tmp_path / "page.svg"
    assert bff("graph", "web:ProductPage", "--format", "svg", "--output", str(target)).returncode == 0
    assert ET.parse(target).getroot().tag.endswith("svg")
    for words, message in (
        (("ProductPage",), "is in more than one gateway; say which: mobile:ProductPage, web:ProductPage"),
        (("Nope",), "'Nope' is no page"),
        (("x:ProductPage",), "there is no gateway 'x'"),
        (("SearchPage", "--format", "png"), "there is no format 'png'"),
    ):
        result = bff("graph", *words)
        assert result.returncode == 2
        assert message in result.stderr


def test_key_and_token(tmp_path: Path) -> None:
    """Only the value is printed, for use in a command line."""
    assert bff("key").stdout == "bff_demo_acme_0123456789abcdef\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serve", "nowhere"), "there is no gateway 'nowhere' (there is: mobile, web, partner)"),
        (("serve", "no.such:app"), "there is no module 'no'"),
        (("serve", "bffs.mobile.app:nope"), "has no 'nope'"),
        (("serve", "json:dumps"), "is a function, not what create_bff gives"),
    ],
)
def test_serve_errors(words: tuple[str, ...], message: str) -> None:
    """What cannot be served is said in one line, without a traceback."""
    result = bff(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_up_needs_a_project(tmp_path: Path) -> None:
    """Without one it says where to put it."""
    result = bff("up", cwd=tmp_path)
    assert result.returncode == 2
    assert "[tool.bff.gateways]" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.bff.gateways.a]\napp = 'x'\nport = 1", "tool.bff.gateways.a.app"),
        ("[tool.bff.gateways.a]\napp = 'x:y'\nport = 70000", "tool.bff.gateways.a.port"),
        ("[tool.bff]\nservice = {}", "tool.bff.service"),
        ("[tool.bff", "pyproject.toml"),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, message: str) -> None:
    """The file and the key are named."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_project(tmp_path)


def test_configuration_is_found_upward(tmp_path: Path) -> None:
    """The nearest pyproject.toml that has the table; none is an empty project."""
    (tmp_path / "pyproject.toml").write_text("[tool.bff.services]\na = { command = 'x', port = 1 }")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'")
    assert list(load_project(inner).services) == ["a"]


def test_an_apps_own_import_error_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that lacks one of its own imports says so itself."""
    (tmp_path / "broken_gateway.py").write_text("import not_there_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_app("broken_gateway:app")
