"""Settings: what wins over what, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from bff_core import ServiceClient, Settings, SettingsError, create_bff, get


class GatewaySettings(Settings):
    defaults: ClassVar = {"services": {"catalog": {"url": "http://default:1"}, "users": {"url": "http://users:2"}}}

    extra: int = 1


def test_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each level sets what it names and leaves the rest to the one below."""
    file = tmp_path / "bff.toml"
    file.write_text('deadline = 7\nextra = 5\n[services.catalog]\nurl = "http://file:1"\npolicy.timeout = 0.7\n')
    monkeypatch.setenv("BFF_SETTINGS_FILE", str(file))
    monkeypatch.setenv("BFF_SERVICES__CATALOG__URL", "http://env:9/base/")
    monkeypatch.setenv("BFF_EXTRA", "6")
    settings = GatewaySettings.load()
    assert settings.services["catalog"].url == "http://env:9/base"
    assert settings.services["catalog"].policy.timeout == 0.7
    assert settings.services["users"].url == "http://users:2"
    assert (settings.deadline, settings.extra) == (7, 6)
    assert GatewaySettings.load(extra=8).extra == 8


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BFF_DEADLIN", "1", "BFF_DEADLIN, which is no setting; there is: .*BFF_DEADLINE"),
        ("BFF_DEADLINE", "0", "deadline: "),
        ("BFF_DEADLINE", "soon", "deadline: "),
        ("BFF_SERVICES__CATALOG__URL", "ftp://x", "services.catalog.url: .*must be http"),
        ("BFF_SERVICES__CATALOG__URL", "http://user:pw@x", "services.catalog.url: "),
        ("BFF_SERVICES__CATALOG__URI", "http://x", "services.catalog.uri: "),
        ("BFF_SERVICES__CATALOG__POLICY__RETRY__ATTEMPTS", "9", "services.catalog.policy.retry.attempts: "),
        ("BFF_SERVICES__CATALOG__POLICY__CONNECT_TIMEOUT", "3", "services.catalog.policy: .*connect_timeout is longer"),
        ("BFF_SERVICES__CATALOG__URL", "http://x:99999", "there is no port 99999; .*BFF_SERVICES__CATALOG__URL"),
        ("BFF_ALLOWED_HOSTS", "api.pw.example", r"BFF_ALLOWED_HOSTS='\[\"one\", \"two\"\]'"),
        ("BFF_ALLOWED_HOSTS", "3", r"allowed_hosts: .*BFF_ALLOWED_HOSTS='\[\"one\", \"two\"\]'"),
        ("BFF_DELIVERY__CODINGS", "gzip-pw", r"BFF_DELIVERY__CODINGS cannot be read: it is a JSON list, such as"),
        ("BFF_CORS__ORIGINS", "https://pw.example", r"BFF_CORS__ORIGINS='\[\"one\", \"two\"\]'"),
        ("BFF_SERVICES", "pw", r"BFF_SERVICES cannot be read: it is a JSON object, .*BFF_SERVICES__NAME=value"),
        ("BFF_DELIVERY", "pw", r"BFF_DELIVERY='\{\"name\": \"value\"\}', or BFF_DELIVERY__NAME=value"),
        ("BFF_POLICY", "pw", r"policy: .*\(BFF_POLICY: it is a JSON object"),
        ("BFF_DEADLINE", "pw", r"deadline: .*\(BFF_DEADLINE\)"),
        ("BFF_SETTINGS_FILE", "/nowhere.toml", "names /nowhere.toml, which is no file"),
    ],
)
def test_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str) -> None:
    """What is wrong is named by its full path; a secret in a URL is not repeated."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message) as refused:
        GatewaySettings.load()
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("call", [Settings, GatewaySettings, Settings.load])
def test_each_way_to_them_is_checked(monkeypatch: pytest.MonkeyPatch, call: Callable[..., Settings]) -> None:
    """With arguments as without: what is misspelt in the environment is refused, and so is what cannot be."""
    monkeypatch.setenv("BFF_DEADLNE", "3")
    with pytest.raises(SettingsError, match="BFF_DEADLNE, which is no setting"):
        call(max_body=1)
    monkeypatch.delenv("BFF_DEADLNE")
    monkeypatch.setenv("BFF_DEADLINE", "abc")
    with pytest.raises(SettingsError, match=r"deadline: .*\(BFF_DEADLINE\)") as refused:
        call(max_body=1)
    assert refused.value.__cause__ is None
    assert call(deadline=3).deadline == 3


@pytest.mark.parametrize("content", [b"deadline = \n", b'a = "\xff"'])
def test_a_file_that_is_no_toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    """It is named, and who names it."""
    file = tmp_path / "bff.toml"
    file.write_bytes(content)
    monkeypatch.setenv("BFF_SETTINGS_FILE", str(file))
    with pytest.raises(SettingsError, match=rf"BFF_SETTINGS_FILE names {file}, which cannot be read as TOML: "):
        GatewaySettings.load()


def test_a_service_needs_a_url() -> None:
    """The message says which variable to set."""

    class Users(ServiceClient, service="my-users"):
        @get("/")
        async def all(self) -> list[str]: ...

    with pytest.raises(SettingsError, match="no URL for my-users; set BFF_SERVICES__MY_USERS__URL"):
        create_bff("x", clients=[Users], settings=Settings())
