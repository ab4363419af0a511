"""A gateway ends wholly, whatever one of its parts does as it begins or ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bff_core import Bff, Page, Principal, Settings, Usage, create_bff, section
from bff_core.testing import bff_client


class Auth:
    """Somebody's, who sees to it that it is closed."""

    challenge = "Test"

    def __init__(self) -> None:
        self.scheme = {"type": "http", "scheme": "test"}
        self.closed = 0

    async def authenticate(self, scope: Any) -> Principal | None:
        return Principal("ann", tenant="acme")

    async def aclose(self) -> None:
        self.closed += 1


class Hello(Page):
    @section
    def hello(self) -> str:
        return "hello"


async def broken() -> None:
    raise ConnectionError("it could not be closed")


def make(tmp_path: Path, auth: Auth, lifespan: Any = None) -> Bff:
    usage = Usage(f"sqlite:///{tmp_path}/usage.db", flush=3600)
    app = create_bff("t", settings=Settings(), clients=[], auth=auth, usage=usage, lifespan=lifespan)
    app.page("/hello", Hello)
    return app


async def written(tmp_path: Path) -> int:
    usage = Usage(f"sqlite:///{tmp_path}/usage.db")
    days = await usage.days("acme", 2)
    await usage.aclose()
    return sum(day.requests for day in days)


@asynccontextmanager
async def of_its_user(app: Bff) -> AsyncIterator[None]:
    yield
    await broken()


@pytest.mark.parametrize("which", ["user", "last_good", "operations"])
async def test_all_end_though_one_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    auth = Auth()
    app = make(tmp_path, auth, of_its_user if which == "user" else None)
    if which != "user":
        monkeypatch.setattr(getattr(app, which), "aclose", broken)
    with pytest.raises(ConnectionError):
        async with bff_client(app) as client:
            assert (await client.get("/hello")).status_code == 200
    assert (await written(tmp_path), auth.closed, app.ready) == (1, 1, False)


async def test_what_began_ends_though_the_next_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = Auth()
    app = make(tmp_path, auth)
    monkeypatch.setattr(app.operations, "start", broken)
    with pytest.raises(ConnectionError):
        async with bff_client(app):
            pass
    assert auth.closed == 1
    assert app.lag._timer is not None
    assert app.lag._timer.cancelled()
