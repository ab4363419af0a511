"""The command: its configuration, its errors, its drawings."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import Context
from typer.core import TyperCommand as Command

from bff_core import SettingsError
from bff_core.cli import graph
from bff_core.cli.config import PORT_BASE, Gateway, Project, Service, load_project
from bff_core.cli.serve import load_app

ROOT = Path(__file__).parents[2]


def bff(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bff_core.cli", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200", "PYTHONPATH": str(ROOT), **environment},
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
    result = bff("graph", "ProductPage")
    assert result.returncode == 2
    assert "is in more than one gateway; say which: mobile:ProductPage, web:ProductPage" in result.stderr


@pytest.mark.parametrize(
    ("page", "form", "message"),
    [
        ("Nope", "svg", "'Nope' is no page"),
        ("x:ProductPage", "svg", "there is no gateway 'x'"),
        ("SearchPage", "png", "there is no format 'png'"),
    ],
)
def test_no_graph(page: str, form: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # The gateways stay imported, for tests that want them as they are without a project.
    monkeypatch.setattr(Project, "variables", lambda *_: {})
    with pytest.raises(SettingsError, match=re.escape(message)):
        graph(Context(Command("graph")), page, form)


def test_key_and_token(tmp_path: Path) -> None:
    """Only the value is printed, for use in a command line."""
    assert bff("key").stdout == "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("serve", "nowhere"), "there is no gateway 'nowhere' (there is: mobile, web, partner)"),
        (("serve", "no.such:app"), "there is no module 'no'"),
    ],
)
def test_serve_errors(words: tuple[str, ...], message: str) -> None:
    """What cannot be served is said in one line, without a traceback."""
    result = bff(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("bffs.mobile.app:nope", "has no 'nope'"),
        ("json:dumps", "is a function, not what create_bff gives"),
    ],
)
def test_what_is_no_gateway(target: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_app(target)


def test_up_needs_a_project(tmp_path: Path) -> None:
    """Without one it says where to put it."""
    result = bff("up", cwd=tmp_path)
    assert result.returncode == 2
    assert "[tool.bff.gateways]" in result.stderr


def service(command: str) -> str:
    return f"[tool.bff.services.a]\ncommand = '{command}'\nport = 1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.bff.gateways.a]\napp = 'x'\nport = 1", "tool.bff.gateways.a.app"),
        ("[tool.bff.gateways.a]\napp = 'x:y'\nport = 70000", "tool.bff.gateways.a.port"),
        ("[tool.bff]\nservice = {}", "tool.bff.service:"),
        ("[tool.bff]\nroot = '/'", "tool.bff.root:"),
        ("[tool]\nbff = 3", "tool.bff:"),
        ("[tool.bff", "pyproject.toml"),
        ("[tool.bff.services.'a=b']\ncommand = 'x'\nport = 1", "tool.bff.services.a=b"),
        ("[tool.bff.services.a]\ncommand = 'x'\nport = 1\nready = 'up'", "tool.bff.services.a.ready:"),
        (service("x --port {prot}"), "tool.bff.services.a.command: only {port} and {port_base} are filled in"),
        (service("x {}"), "tool.bff.services.a.command: only {port} and {port_base} are filled in"),
        (service("x {port.number}"), "tool.bff.services.a.command: only {port} and {port_base} are filled in"),
        (service("x {port"), "tool.bff.services.a.command: "),
        (service('x "y'), "tool.bff.services.a.command: No closing quotation"),
        (service(" "), "tool.bff.services.a.command: there is no program in it"),
        (
            service("x") + "[tool.bff.gateways]\nb = { app = 'x:y', port = 1 }",
            "tool.bff: a and b have the same port, 1",
        ),
        (service("x") + "[tool.bff.gateways]\na = { app = 'x:y', port = 2 }", "'a' is a service and a gateway"),
        (
            service("x") + "[tool.bff.gateways]\nb = { app = 'x:y', port = 2, environment = { V = '{c}' } }",
            "tool.bff: gateways.b.environment.V: only ports by name are filled in, like {b}",
        ),
    ],
)
def test_wrong_configuration(tmp_path: Path, text: str, message: str) -> None:
    """The file and the key are named."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        load_project(tmp_path)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


def test_unreadable_configuration(tmp_path: Path) -> None:
    """Neither of these is a traceback."""
    (tmp_path / "pyproject.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(SettingsError, match=r"pyproject\.toml: .*utf-8"):
        load_project(tmp_path)
    with pytest.raises(SettingsError, match=r"pyproject\.toml: .*too long"):
        load_project(tmp_path / ("x" * 300))


def test_command_words() -> None:
    """Filled in, split as a shell would, braces doubled; ``python`` is this interpreter, as the program only."""
    words = Service(command="python 'my program.py' {port} --base={port_base} {{}} python", port=8100).words(9000)
    assert words == [sys.executable, "my program.py", "8100", "--base=9000", "{}", "python"]


def test_ports_are_moved() -> None:
    """All by the same; the services' addresses with them."""
    project = Project(
        services={"a-b": Service(command="x", port=9000)}, gateways={"web": Gateway(app="x:y", port=8001)}
    ).moved(20_000)
    assert (project.services["a-b"].port, project.gateways["web"].port) == (21_000, 20_001)
    assert project.service_urls() == {"BFF_SERVICES__A_B__URL": "http://127.0.0.1:21000"}
    assert Project().moved(1024) == Project()


def test_a_gateways_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports by name, as they were moved; what is set already stays."""
    monkeypatch.setenv("V", "mine")
    told = {"U": "http://127.0.0.1:{a-b}/{{{web}}}", "V": "theirs"}
    project = Project(
        services={"a-b": Service(command="x", port=9000)},
        gateways={"web": Gateway(app="x:y", port=8001, ops_port=8101, environment=told)},
    ).moved(20_000)
    variables = project.gateways["web"].variables(project.port_of())
    assert variables == {"U": "http://127.0.0.1:21000/{20001}", "BFF_OPS_PORT": "20101"}


@given(st.lists(st.integers(1, 65535), min_size=1, unique=True), st.integers(1024, 65535))
def test_a_port_stays_a_port(ports: list[int], base: int) -> None:
    """Or the message says which bases are good, and they are."""
    project = Project(services={f"s{port}": Service(command="x", port=port) for port in ports})
    try:
        moved = project.moved(base)
    except SettingsError as error:
        assert not all(1 <= port + base - PORT_BASE <= 65535 for port in ports)
        low, high = (int(number) for number in re.findall(r"\d+", str(error).rpartition(";")[2]))
        assert low <= PORT_BASE <= high
        for good in (low, high):
            project.moved(good)
    else:
        assert [entry.port for entry in moved.services.values()] == [port + base - PORT_BASE for port in ports]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("up", "--port-base", "65000"), "--port-base 65000 moves a port out of 1 to 65535; give 1024 to 64527"),
        (("serve", "web", "--port-base", "65000"), "--port-base 65000 moves a port out of 1 to 65535"),
        (("up", "--port-base", "70000"), "--port-base"),
    ],
)
def test_a_port_base_that_cannot_be(words: tuple[str, ...], message: str) -> None:
    """Said before anything starts."""
    result = bff(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_configuration_is_found_upward(tmp_path: Path) -> None:
    """The nearest pyproject.toml that has the table; none is an empty project."""
    (tmp_path / "pyproject.toml").write_text("[tool.bff.services]\na = { command = 'x', port = 1 }")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'")
    project = load_project(inner)
    assert (list(project.services), project.root) == (["a"], tmp_path)


def test_from_a_folder_of_the_project(tmp_path: Path) -> None:
    """A command's module and relative paths are those of the project's root."""
    (tmp_path / "pyproject.toml").write_text("[tool.bff.commands]\nwhere = 'own:where'")
    (tmp_path / "own.py").write_text("import pathlib\ndef where(): print(pathlib.Path('data').resolve())")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert bff("where", cwd=inner).stdout == f"{tmp_path / 'data'}\n"


def test_a_drawing_is_written_where_one_stands() -> None:
    """Not in the project's root."""
    result = bff("graph", "SearchPage", "--output", "drawing.txt", cwd=ROOT / "tests" / "cli")
    assert result.returncode == 0, result.stderr
    drawing = ROOT / "tests" / "cli" / "drawing.txt"
    assert drawing.read_text().startswith("flowchart LR")
    drawing.unlink()


def test_an_apps_own_import_error_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that lacks one of its own imports says so itself."""
    (tmp_path / "broken_gateway.py").write_text("import not_there_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_app("broken_gateway:app")


def test_a_dispatcher_without_its_database() -> None:
    """One sentence, without the password."""
    result = bff(
        "dispatch",
        "bffs.partner.parts:webhooks",
        BFF_DATABASE="postgresql://shop:hidden@127.0.0.1:1/shop",
        BFF_PEPPER="p" * 32,
        BFF_WEBHOOK_KEYS="ZXZlcnlib2R5IGtub3dzIHRoaXMsIHNvIGZvciBkZW0",
    )
    assert result.returncode == 2
    assert result.stderr.startswith("bff: the database of the webhooks cannot be used: ")
    assert len(result.stderr.splitlines()) == 1
    assert "hidden" not in result.stderr
