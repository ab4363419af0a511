"""compose.yaml and the Dockerfiles against the code: no container engine is needed to find them wrong."""

from __future__ import annotations

import importlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from bff_core import Settings
from bff_core.cli.serve import load_app
from shop.ports import PORTS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["bff"]
GATEWAYS = sorted(PROJECT["gateways"])
SECRET = "s" * 43


def settings_class(gateway: str) -> type[Settings]:
    module = importlib.import_module(f"bffs.{gateway}.settings")
    found: type[Settings] = next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
    )
    return found


def test_everything_is_there() -> None:
    """Every service of the code, every gateway, the store; nothing else."""
    assert set(SERVICES) == set(PORTS) | set(GATEWAYS) | {"valkey"}
    assert set(PROJECT["services"]) == set(PORTS)
    assert {name: entry["port"] for name, entry in PROJECT["services"].items()} == PORTS
    assert all("healthcheck" in service for service in SERVICES.values())


@pytest.mark.parametrize("name", sorted(PORTS))
def test_service(name: str) -> None:
    """A service listens on its port, for its network only, and is asked for its health there."""
    service = SERVICES[name]
    command = service["command"]
    assert command == [name, "--host", "0.0.0.0", "--port", str(PORTS[name])]
    assert f"http://127.0.0.1:{PORTS[name]}/health'" in service["healthcheck"]["test"][-1]
    assert service["networks"] == ["inside"]
    assert "ports" not in service
    source = (ROOT / "shop" / "services" / "ordering.py").read_text()
    for variable, url in service.get("environment", {}).items():
        target = re.fullmatch(r"SHOP_(\w+)_URL", variable)
        assert target
        assert url == f"http://{target[1].lower()}:{PORTS[target[1].lower()]}"
        assert f'"{target[1].lower()}"' in source


@pytest.mark.parametrize("name", GATEWAYS)
def test_gateway(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's variables are settings, they arrive, and they are all it needs."""
    service, port = SERVICES[name], PROJECT["gateways"][name]["port"]
    environment = {key: SECRET if value.startswith("$") else value for key, value in service["environment"].items()}
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    settings = settings_class(name).load()
    needed = set(settings_class(name).defaults["services"])
    assert set(service["depends_on"]) == needed
    assert {key: entry.url for key, entry in settings.services.items()} == {
        key: f"http://{key}:{PORTS[key]}" for key in needed
    }
    # Clients from everywhere; the operations port, on which keys are issued, from this machine, and by a token.
    assert settings.ops_port == PROJECT["gateways"][name]["ops_port"]
    assert service["ports"] == [f"{port}:{port}", f"127.0.0.1:{settings.ops_port}:{settings.ops_port}"]
    assert settings.ops_host == "0.0.0.0"
    assert (settings.ops_token is not None) == (name == "partner")
    assert service["networks"] == ["edge", "inside"]
    assert f"http://127.0.0.1:{port}/health/ready'" in service["healthcheck"]["test"][-1]
    monkeypatch.setenv("BFF_NONSENSE", "1")
    with pytest.raises(Exception, match="BFF_NONSENSE"):
        settings_class(name).load()


@pytest.mark.parametrize("name", GATEWAYS)
def test_gateway_image(name: str) -> None:
    """The image's command names an app that is there, its port and health check are the code's."""
    text = (ROOT / "bffs" / name / "Dockerfile").read_text()
    target, port = PROJECT["gateways"][name]["app"], PROJECT["gateways"][name]["port"]
    command = json.loads(re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)[-1])
    assert command == ["bff", "serve", target, "--host", "0.0.0.0", "--port", str(port)]
    app = load_app(target)
    assert "/health/ready" in {getattr(route, "path", None) for route in app.router.routes}
    assert f"EXPOSE {port}\n" in text
    assert f"http://127.0.0.1:{port}/health/ready" in text
    assert "\nUSER bff\n" in text
    for sources in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source


def test_only_the_gateways_are_reachable() -> None:
    """One network edge; and no secret is written down."""
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == set(GATEWAYS)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for service in SERVICES.values():
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|KEY|TOKEN", variable):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), variable
