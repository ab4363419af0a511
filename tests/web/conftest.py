"""A site to sign in to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .fakes import Site, a_site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with a_site() as made:
        yield made
