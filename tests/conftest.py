"""Fixtures for all tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import settings

pytest_plugins = ["tests.servers"]


# Where the demo's database is made when a test imports the partner gateway.
if "SHOP_DATA" not in os.environ:
    os.environ["SHOP_DATA"] = tempfile.mkdtemp(prefix="shop-")
    atexit.register(shutil.rmtree, os.environ["SHOP_DATA"], ignore_errors=True)

# A busy machine is no reason to fail.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The framework runs on asyncio."""
    return "asyncio"
