"""The operations ports of a project that `bff up` runs."""

from __future__ import annotations

import httpx
import pytest

from .conftest import GATEWAYS, Project

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_each_gateway_has_one(project: Project, gateway: str) -> None:
    """Moved with the other ports, said when it is up, and with the gateway's own numbers."""
    port = GATEWAYS[gateway] + 100 - 8000 + project.base
    assert f"http://127.0.0.1:{port}/console" in project.output.replace("\n", "")
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert f'bff_gateway_info{{gateway="{gateway}"' in metrics
    assert 'bff_requests_total{method="GET",route="' in metrics
    assert httpx.get(f"http://127.0.0.1:{port}/health/services").json()["services"]["catalog"]["endpoints"] == 1
    assert project.get(gateway, "/metrics").status_code == 404
