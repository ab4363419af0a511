"""compose.yaml over time: what waits for what, what is asked for its health, how long a stop may take."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from shop.ports import PORTS
from tests.packaging.environments import GATEWAYS, ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's data, seeded by the first service that starts."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_stop_outlasts_the_requests_in_flight(name: str) -> None:
    """A container is not killed within the time that its gateway takes to finish."""
    grace = importlib.import_module(f"bffs.{name}.app").settings.shutdown_grace
    assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > grace


def test_a_service_waits_for_those_it_calls() -> None:
    """Whoever is told a service's URL starts when that one is healthy; the waiting has no circle."""
    order: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        told = {
            match[1].lower()
            for variable in service.get("environment", {})
            if (match := re.fullmatch(r"(?:SHOP_|BFF_SERVICES__)([A-Z]+)_+URL", variable))
        }
        waits = service.get("depends_on", {})
        assert set(waits) == told, name
        assert all(entry == {"condition": "service_healthy"} for entry in waits.values())
        order[name] = told
    while order:
        free = [name for name, waits in order.items() if not waits & set(order)]
        assert free, f"these wait for each other: {sorted(order)}"
        for name in free:
            del order[name]


@pytest.mark.parametrize("name", sorted(PORTS))
async def test_a_services_health_url_answers(name: str, data: Path) -> None:
    """The path that compose asks is one that the service has."""
    match = re.search(rf"127\.0\.0\.1:{PORTS[name]}(/\w+)'", SERVICES[name]["healthcheck"]["test"][-1])
    assert match is not None
    app = importlib.import_module(f"shop.services.{name}").create_app(data)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        assert (await client.get(match[1])).status_code == 200


def test_the_store_is_of_one_major_version() -> None:
    """Official images, never ``latest``."""
    images = {name: service["image"] for name, service in SERVICES.items() if "image" in service}
    assert set(images) == {"valkey"}
    assert all(re.fullmatch(r"[\w/]+:\d+", image) for image in images.values())
