"""The mobile gateway: what may be sent again, and what apps.toml says."""

from __future__ import annotations

from pathlib import Path

from fastapi.routing import APIRoute

from bff_core.applife.definitions import read_definitions
from bff_core.pages import PageRoute
from bffs.mobile.app import app

ROOT = Path(__file__).parents[2]
SAFE = {"GET", "HEAD", "OPTIONS"}


def test_every_unsafe_endpoint_may_be_sent_again() -> None:
    """By an Idempotency-Key, or for the reason that docs/apps.md gives."""
    document = (ROOT / "docs" / "apps.md").read_text()
    table = document.partition("## What is safe to send again")[2]
    unsafe = [
        (method, route.path)
        for route in app.router.routes
        if isinstance(route, APIRoute)
        for method in sorted((route.methods or set()) - SAFE)
        if not (isinstance(route, PageRoute) and route.once is not None and route.once.required)
    ]
    assert len(unsafe) == 6
    for method, path in unsafe:
        shown = "/ofrep/…" if path.startswith("/ofrep/") else path
        assert f"`{method} {shown}`" in table, (method, path)


def test_what_the_gateway_comes_with_can_be_used() -> None:
    definitions = read_definitions((ROOT / "bffs" / "mobile" / "apps.toml").read_bytes(), toml=True)
    assert definitions.gate.keys() == {"ios", "android"}
    assert app.app_life is not None
    assert app.app_life.definitions == definitions
