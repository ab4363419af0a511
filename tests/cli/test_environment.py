"""Commands that look into a gateway see it as `bff up` runs it: with its `environment`, and where the services are."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bff_core import SettingsError
from bff_core.cli import app, serve_command
from bff_core.cli.config import load_project
from bff_core.cli.gateways import load_gateway

KEYS = """
import os
from pydantic import BaseModel, SecretStr
from bff_core import Page, ServiceClient, Settings, StoredKeys, Version, Versions, create_bff, get, required

class Stock(BaseModel):
    left: int

class Inventory(ServiceClient, service="stock-room"):
    @get("/")
    async def stock(self) -> Stock: ...

class StockPage(Page):
    stock = required(Inventory.stock)

versions = Versions(Version("2026-05-01"))
keys = StoredKeys(os.environ["KEYS_URL"], pepper=SecretStr("p" * 32), uses=versions.usage)
app = create_bff("mine", settings=Settings.load(), clients=[Inventory], auth=keys, versions=versions)
app.page("/stock", StockPage)
"""
OTHER = """
import os
from bff_core import Settings, create_bff
if "KEYS_URL" in os.environ:
    raise RuntimeError("this is another gateway's")
app = create_bff("other", settings=Settings.load(), clients=[])
"""
PROJECT = """
[tool.bff.services]
stock-room = { command = "true", port = 9001 }
[tool.bff.gateways]
mine = { app = "mine_of_environment:app", port = 8001, environment = { KEYS_URL = "sqlite:///of-the-gateway.db" } }
other = { app = "other_of_environment:app", port = 8002 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "mine_of_environment.py").write_text(KEYS)
    (tmp_path / "other_of_environment.py").write_text(OTHER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in ("mine_of_environment", "other_of_environment"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for variable in ("KEYS_URL", "BFF_SERVICES__STOCK_ROOM__URL"):
        monkeypatch.setenv(variable, "")  # so that it is as before afterwards
        monkeypatch.delenv(variable)
    return tmp_path


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_keys_go_where_the_gateway_reads_them(folder: Path) -> None:
    """To the database of its `environment` table."""
    key = run("partners", "issue", "acme").strip()
    assert key.startswith("bff_live_")
    assert (folder / "of-the-gateway.db").stat().st_size


@pytest.mark.parametrize("words", [("pages", "mine"), ("policies", "mine", "--all"), ("graph", "mine:StockPage")])
def test_services_are_where_the_project_has_them(folder: Path, words: tuple[str, ...]) -> None:
    """No command asks for the URL of one that `bff up` would start."""
    assert "stock" in run(*words).lower()


def test_without_a_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway is given as to `bff serve`; what to do is said to who gives none."""
    (folder / "pyproject.toml").unlink()
    monkeypatch.setenv("KEYS_URL", "sqlite:///mine.db")
    monkeypatch.setenv("BFF_SERVICES__STOCK_ROOM__URL", "http://stock:1")
    mine = "mine_of_environment:app"
    assert "StockPage" in run("pages", mine)
    assert run("graph", f"{mine}:StockPage").startswith("flowchart LR")
    assert "stock" in run("policies", mine, "--all")
    assert "2026-05-01" in run("versions", mine)
    assert run("partners", "issue", "acme", "--gateway", mine).startswith("bff_live_")
    for words in (["pages"], ["policies"], ["versions"], ["graph", "StockPage"], ["partners", "list"]):
        with pytest.raises(SettingsError, match=r"no \[tool.bff.gateways\] in pyproject.toml.*: module:app"):
            run(*words)
    with pytest.raises(SettingsError, match="no gateway 'mine'; there is: none; or give module:app"):
        run("pages", "mine")


def test_versions(folder: Path) -> None:
    """Who uses them is asked of the gateway's own database."""
    assert "2026-05-01" in run("versions", "mine")
    assert (folder / "of-the-gateway.db").exists()


def test_one_gateways_environment_is_not_anothers(folder: Path) -> None:
    """It is taken back before the next one is loaded; what is set already wins."""
    project = load_project()
    for name in ("mine", "other"):
        load_gateway(project, name)
    assert "KEYS_URL" not in os.environ
    os.environ["KEYS_URL"] = "sqlite:///my-own.db"
    os.environ["BFF_SERVICES__STOCK_ROOM__URL"] = "http://elsewhere:1"
    assert project.variables("mine") == {}


def test_serving_one_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told the same."""
    served: list[tuple[object, ...]] = []
    monkeypatch.setattr("bff_core.cli.serve", lambda *words: served.append(words))
    monkeypatch.setattr("bff_core.cli.load_project", load_project)
    serve_command("mine", "127.0.0.1", None, 18000)
    assert served == [("mine_of_environment:app", "127.0.0.1", 18001)]
    assert os.environ["BFF_SERVICES__STOCK_ROOM__URL"] == "http://127.0.0.1:19001"
    assert os.environ["KEYS_URL"] == "sqlite:///of-the-gateway.db"


def test_why_there_are_no_keys(folder: Path) -> None:
    """A gateway that could not be loaded is not passed over in silence."""
    (folder / "mine_of_environment.py").write_text(
        "from bff_core import SettingsError\nraise SettingsError('no pepper')"
    )
    with pytest.raises(SettingsError, match=re.escape("mine cannot be loaded: no pepper")):
        run("partners", "list")
