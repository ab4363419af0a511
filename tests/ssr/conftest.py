"""The gateway of ``gateway.py``, its services under the test's control."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .gateway import Stage, make_gateway, on_a_socket


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def url(stage: Stage) -> AsyncIterator[str]:
    async with on_a_socket(make_gateway(stage)) as origin:
        yield origin
        stage.open(*stage.gates)
