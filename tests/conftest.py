"""Fixtures for all tests."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.servers"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The framework runs on asyncio."""
    return "asyncio"
