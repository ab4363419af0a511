"""The same over TLS, on the loop that gateways run on; what certificates must be is in test_tls.py."""

from __future__ import annotations

from typing import Any

import pytest
import uvloop

from .cases import ask, table
from .others import KINDS, Others


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"loop_factory": uvloop.new_event_loop}


@pytest.mark.parametrize(("kind", "name"), table(f"{kind} tls" for kind in KINDS if kind != "httptools"))
async def test_they_understand_each_other(make, others: Others, kind: str, name: str) -> None:
    await ask(make, others, kind, name)
