"""Stores of every kind, on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores.conftest import SHARED, url_of


@pytest.fixture(params=("memory", *SHARED))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store that processes share."""
    return url_of(request.param, request, tmp_path)
