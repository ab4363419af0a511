"""``bff partners`` and ``bff versions``, as an operator types them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bff_core import SettingsError
from bff_core.cli import app, console
from bff_core.cli.partners import console as partners_console
from bff_core.cli.partners import seconds

GATEWAY = """
import os
from datetime import date
from pydantic import BaseModel, SecretStr
from bff_core import AnyOf, ApiKeys, Quota, RateLimit, Renamed, Settings, StoredKeys, Version, Versions, create_bff

class Product(BaseModel):
    title: str

versions = Versions(
    Version("2026-05-01", Renamed(Product, "name", to="title"), path="/v2"),
    Version("2024-11-01", deprecated=date(2026, 1, 1), sunset=date(2027, 1, 1)),
)
keys = StoredKeys("sqlite:///keys.db", pepper=SecretStr("p" * 32), uses=versions.usage)
limits = [
    Quota("month", 5, per="month", key="tenant", plans={"gold": 6}),
    RateLimit("throttle", "5/second", key="tenant"),
]
auth = AnyOf(ApiKeys([]), keys)
app = create_bff("shop", settings=Settings(), clients=[], auth=auth, versions=versions, limits=limits)
plain = create_bff("plain", settings=Settings(), clients=[])
"""
PROJECT = """
[tool.bff.gateways]
shop = { app = "gateway_of_partners:app", port = 8001 }
plain = { app = "gateway_of_partners:plain", port = 8002 }
"""


class Cli:
    """Runs commands; ``said`` is what the last one said on standard output."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, *words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        self.said = result.stdout
        return self.said


@pytest.fixture
def bff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "gateway_of_partners.py").write_text(GATEWAY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "gateway_of_partners", raising=False)
    for each in (console, partners_console):
        monkeypatch.setattr(each, "_width", 200)
    return Cli()


def test_the_life_of_a_key(bff: Cli) -> None:
    """Issued, seen, rotated, revoked. It is on standard output alone, to be piped on; a list never has it."""
    key = bff("partners", "issue", "acme", "--scope", "b", "--scope", "a", "--version", "2024-11-01").strip()
    assert re.fullmatch(r"bff_live_\w{36}", key)
    test_key = bff("partners", "issue", "bolt", "--test", "--expires", "90d", "--name", "[bold]x").strip()
    assert test_key.startswith("bff_test_")
    listed = bff("partners", "list")
    assert key not in listed
    assert test_key not in listed
    assert f"{key[:13]}…" in listed
    assert "[bold]x" in listed
    assert "a b" in listed
    assert "bolt" not in bff("partners", "list", "acme")
    (key_id,) = re.findall(r"key_\w{16}", bff.said)
    new = bff("partners", "rotate", key_id, "--grace", "1h").strip()
    assert new != key
    assert "active, rotated" in bff("partners", "list", "acme")
    assert "gateways know within 5 s" in bff("partners", "revoke", key_id)
    assert "revoked" in bff("partners", "list", "acme")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["partners", "revoke", "key_x"], "there is no key 'key_x' that is not revoked"),
        (["partners", "rotate", "key_x"], "there is no key 'key_x' in force; see: bff partners list"),
        (["partners", "rotate", "key_x", "--grace", "soon"], "'soon' is no time; say 90d"),
        (["partners", "issue", "a", "--version", "v9"], "there is no version 'v9'; there is: 2026-05-01, 2024-11-01"),
        (["partners", "issue", "acme", "--plan", "glod"], "there is no plan 'glod'; there is: gold"),
        (["partners", "issue", "a|b"], "characters without '|'; give the key another one with --tenant"),
        (["partners", "plan", "a|b", "gold"], "a tenant is at most 255 printable characters without '|'"),
        (["partners", "plan", "acme", "silver"], "there is no plan 'silver'; there is: gold"),
        (["partners", "plan", "acme", "--limit", "week=1"], "there is no limit 'week'; there is: month, throttle"),
        (["partners", "plan", "acme", "--limit", "month"], "'month' is no limit"),
        (["partners", "plan", "acme", "--limit", "month=-1"], "limit 'month': '-1' is no number of calls"),
        (["partners", "plan", "acme", "--remove"], "'acme' has booked nothing"),
        (["partners", "list", "--gateway", "x"], "there is no gateway 'x'; there is: shop, plain"),
        (["partners", "list", "--gateway", "plain"], "plain has no keys in a database"),
        (["versions", "plain"], "gateway 'plain' has no versions"),
    ],
)
def test_mistakes(bff: Cli, words: list[str], message: str) -> None:
    """What is wrong, and what to do."""
    with pytest.raises(SettingsError, match=re.escape(message)):
        bff(*words)


def test_the_plan_of_a_tenant(bff: Cli) -> None:
    """Shown, changed, with a limit of its own, taken back."""
    assert "acme: no plan" in bff("partners", "plan", "acme")
    assert "within 5 s" in bff("partners", "plan", "acme", "gold", "--limit", "month=7", "--limit", "throttle=9/second")
    assert "acme: gold, month=7, throttle=9/second" in bff("partners", "plan", "acme")
    bff("partners", "issue", "acme")
    assert "gold" in bff("partners", "list")
    bff("partners", "plan", "acme", "--remove")
    assert "acme: no plan" in bff("partners", "plan", "acme")


def test_ids_are_whole_however_narrow_it_is(bff: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns, as in a pipe: what is listed can be revoked."""
    monkeypatch.setattr(partners_console, "_width", 80)
    bff("partners", "issue", "a-partner-of-ours", "--plan", "gold", "--version", "2024-11-01", "--scope", "orders:read")
    (key_id,) = re.findall(r"key_\w{16}", bff("partners", "list"))
    assert f"{key_id} is revoked" in bff("partners", "revoke", key_id)
    assert partners_console.width == 80


def test_what_changed_and_who_uses_it(bff: Cli) -> None:
    """The changes in words, the announced end, the keys that are pinned; a gateway without versions is passed over."""
    bff("partners", "issue", "acme", "--version", "2024-11-01")
    said = bff("versions")
    assert "Product: 'name' is called 'title'" in said
    assert "sunset 2027-01-01" in said
    assert re.search(r"2024-11-01 .*acme", said)
    assert "plain" not in said


def test_times() -> None:
    """With their units."""
    assert [seconds(text) for text in ("90d", "12h", "5m", "30s")] == [90 * 86400, 12 * 3600, 300, 30]


@pytest.mark.parametrize("words", [("partners", "list"), ("partners", "issue", "acme"), ("versions", "shop")])
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://shop:hidden@127.0.0.1:1/shop", "Connect call failed"),
        ("sqlite:///{folder}/text.db", "file is not a database"),
    ],
    ids=["nobody listens", "no database"],
)
def test_a_database_that_cannot_be_used(bff: Cli, tmp_path: Path, words: tuple[str, ...], url: str, said: str) -> None:
    """One sentence, without the password."""
    (tmp_path / "text.db").write_text("This is a text, and a long one, as SQLite looks at a hundred bytes. " * 4)
    gateway = tmp_path / "gateway_of_partners.py"
    gateway.write_text(GATEWAY.replace("sqlite:///keys.db", url.format(folder=tmp_path)))
    with pytest.raises(SettingsError, match=f"the database of the keys cannot be used: .*{said}") as refused:
        bff(*words)
    assert "hidden" not in str(refused.value)
    assert "\n" not in str(refused.value)
