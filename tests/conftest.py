"""Fixtures for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest_plugins = ["tests.servers"]


# A busy machine is no reason to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The framework runs on asyncio."""
    return "asyncio"
