"""Fixtures for all tests."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import settings

pytest_plugins = ["tests.servers"]


# Where the demo's database is made when a test imports the partner gateway.
os.environ.setdefault("SHOP_DATA", tempfile.mkdtemp(prefix="shop-"))

# A busy machine is no reason to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The framework runs on asyncio."""
    return "asyncio"
