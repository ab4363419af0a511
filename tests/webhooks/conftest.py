"""What the tests of webhooks share."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bff_core.webhooks import EventType, Webhooks, WebhookSettings

from .receiver import Receiver


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds ``standardwebhooks``; skips when npm cannot bring it."""
    folder = tmp_path_factory.mktemp("node")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "standardwebhooks@1.0.0"]
    ran = subprocess.run(command, check=False, capture_output=True, timeout=50)
    if ran.returncode != 0:
        pytest.skip("npm cannot install standardwebhooks here")
    return folder


class Order(BaseModel):
    """What the tests tell of."""

    id: str
    total: int = 0


EXAMPLE = EventType("order.updated", Order, "An order has changed.", Order(id="o1"))
CREATED = EventType("order.created", Order, "There is a new order.", Order(id="o1"))
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Webhooks]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty one of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/webhooks.db"
    return str(request.getfixturevalue("postgres_url"))


def settings(url: str, **changes: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"url": url, "keys": [KEY], "allow": ["127.0.0.0/8"], **changes})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(database: str, clock: Clock) -> AsyncIterator[Make]:
    """Webhooks on ``database``, whose time is ``clock``; settings and arguments as given."""
    made: list[Webhooks] = []

    def build(*, options: dict[str, Any] | None = None, **changes: Any) -> Webhooks:
        arguments: dict[str, Any] = {"events": [EXAMPLE, CREATED], "clock": clock, **(options or {})}
        made.append(Webhooks(settings(database, **changes), **arguments))
        return made[-1]

    yield build
    for one in made:
        await one.aclose()


@pytest.fixture
async def webhooks(make: Make) -> Webhooks:
    one = make()
    await one.prepare()
    return one


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


async def endpoint(
    webhooks: Webhooks, url: str, *, owner: str = "acme", types: Sequence[str] = "*", **more: Any
) -> str:
    """An enabled endpoint of ``acme``; its id."""
    added = await webhooks.endpoints.add(owner, url, list(types), most=1000, **more)
    assert added is not None
    await webhooks.endpoints.enable(added[0])
    return added[0].id


async def state(webhooks: Webhooks, where: str, event: str, owner: str = "acme") -> tuple[str, int]:
    """What became of a delivery, after how many attempts."""
    found = await webhooks.log.find(owner, where, event)
    assert found is not None
    return found[0].state, found[0].attempts
