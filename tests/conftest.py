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


# What takes longest goes first, so that no process is left alone with it at the end.
LONGEST = ("tests/e2e/", "tests/hardening/test_schemathesis.py", "tests/web/", "tests/partner/", "tests/idempotency/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of a file run in one process, for the fixtures that they share; all of e2e share one running shop."""
    items.sort(
        key=lambda item: next((n for n, path in enumerate(LONGEST) if item.nodeid.startswith(path)), len(LONGEST))
    )
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("e2e" if file.startswith("tests/e2e/") else file))
