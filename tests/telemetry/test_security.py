"""The security log names the client whom the trusted proxies name."""

from __future__ import annotations

import pytest
import structlog

from bff_core import ApiKeys, Settings, create_bff
from bff_core.testing import FakeServices, bff_client

FORWARDED = {"x-forwarded-for": "9.9.9.9"}


@pytest.mark.parametrize(
    ("trusted", "client", "chain"),
    [("127.0.0.0/8", "9.9.9.9", "9.9.9.9, 127.0.0.1"), ("10.0.0.0/8", "127.0.0.1", "127.0.0.1")],
)
async def test_who_was_refused(trusted: str, client: str, chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a service behind a pass-through route is told the same one."""
    seen = structlog.testing.LogCapture()
    log = structlog.wrap_logger(None, processors=[seen])
    monkeypatch.setattr("bff_core.telemetry.security.log", log)
    services = FakeServices("media")
    services["media"].get("/open").respond(text="x")
    settings = Settings(services=services.settings, trusted_proxies=trusted)  # type: ignore[arg-type]
    app = create_bff("test", settings=settings, clients=[], auth=ApiKeys([]), transport=services.transport)
    app.proxy("/open", service="media", to="/open", public=True)
    app.proxy("/closed", service="media", to="/closed")
    async with bff_client(app) as asking:
        assert (await asking.get("/closed", headers=FORWARDED)).status_code == 401
        assert (await asking.get("/open", headers=FORWARDED)).status_code == 200
    assert [each["client"] for each in seen.entries] == [client]
    assert services.requests[0].headers["x-forwarded-for"] == chain
