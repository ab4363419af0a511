"""Stores of every kind, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bff_core.stores import KeyValueStore, open_store

Open = Callable[..., KeyValueStore]

PATIENT = 20.0  # seconds: for tests where the store answers, however busy the machine
SHARED = ("sqlite", "postgresql", "valkey")  # between processes


def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder}/a store.db"
    if kind == "memory":
        return "memory://"
    return str(request.getfixturevalue({"postgresql": "postgres_url", "valkey": "valkey_url"}[kind]))


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As a gateway is served; the processes of the tests run on asyncio's own loop."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes share."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=("memory", *SHARED))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """``open_store``, patient, and closed when the test is over."""
    stores: list[KeyValueStore] = []

    def open_(url: str, namespace: str = "web:test", timeout: float = PATIENT) -> KeyValueStore:
        stores.append(open_store(url, namespace=namespace, timeout=timeout))
        return stores[-1]

    yield open_
    for store in stores:
        await store.aclose()


@pytest.fixture
def store(url: str, opened: Open) -> KeyValueStore:
    """A store of each kind."""
    return opened(url)
