"""Fixtures for all tests, and what makes all of them quick."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import shutil
import ssl
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx._transports.default as httpx_default
import pytest
from hypothesis import settings

from shop.seed import seed

pytest_plugins = ["tests.servers", "tests.ops.browser"]


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


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's data, not to be written to. The processes of a run share it: ``seed`` lets one of them make it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "seeded"
    seed(folder)
    return folder


# Files that take longest, first of all: who gets one of them last ends long after the others.
LONGEST = (
    "tests/e2e",
    "tests/web/test_browser.py",
    "tests/hardening/test_schemathesis.py",
    "tests/idempotency/test_processes.py",
    "tests/docs/test_readme.py",
    "tests/webhooks/test_kill.py",
    "tests/proxy/test_streams.py",
    "tests/cli/test_cli.py",
    "tests/packaging/environments",
    "tests/limits/test_outage.py",
    "tests/sync/test_kill.py",
    "tests/stores/test_behaviour.py",
    "tests/web/test_real_provider.py",
    "tests/stores/test_faults.py",
    "tests/cli/test_up.py",
)


def _unit(nodeid: str) -> str:
    """What one process of the run does alone: a file, all that needs the running shop, all that needs environments."""
    file = nodeid.partition("::")[0]
    if file in ("tests/packaging/test_environments.py", "tests/packaging/test_dockerfiles.py"):
        return "tests/packaging/environments"
    return "tests/e2e" if file.startswith("tests/e2e/") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {unit: number for number, unit in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(_unit(item.nodeid), len(rank)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For ``-n``: by units, in their order."""
    from xdist.scheduler import LoadFileScheduling

    class ByUnit(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return ByUnit(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All modules are imported here, and stay: nothing of it is garbage, now or when a test leaves some."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# httpx reads all authorities anew for each client, which takes longer than most tests; they have not changed.
_read_authorities = functools.cache(httpx_default.create_ssl_context)


def _shared_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None:
        return _read_authorities()
    return _fresh_context(verify, cert, trust_env)


_fresh_context, httpx_default.create_ssl_context = httpx_default.create_ssl_context, _shared_context
