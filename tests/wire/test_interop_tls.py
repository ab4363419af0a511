"""The same over TLS, on the loop that gateways run on; what certificates must be is in test_tls.py."""

from __future__ import annotations

from typing import Any

import pytest
import uvloop

from bff_core.errors import BadResponse, ConnectFailed, ConnectionLost

from .cases import ask, table
from .certificates import trusting
from .others import KINDS, Others
from .raw import fetch


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    return "asyncio", {"loop_factory": uvloop.new_event_loop}


@pytest.mark.parametrize(("kind", "name"), table(f"{kind} tls" for kind in KINDS if kind != "httptools"))
async def test_they_understand_each_other(make, others: Others, kind: str, name: str) -> None:
    await ask(make, others, kind, name)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_server_where_tls_is_expected(make, others: Others, kind: str) -> None:
    port = others.origin(kind).rpartition(":")[2]
    with pytest.raises(ConnectFailed):
        await fetch(make(f"https://localhost:{port}", ssl_context=trusting(others.authority)))


@pytest.mark.parametrize("kind", ["node tls", "go tls", "nginx tls"])
async def test_tls_where_a_plain_server_is_expected(make, others: Others, kind: str) -> None:
    wire = make(others.origin(kind).replace("https", "http"))
    try:
        assert (await fetch(wire)).status == 400  # Go and nginx understand what it is
    except (BadResponse, ConnectionLost):
        assert kind == "node tls"


@pytest.mark.parametrize("kind", ["h11 tls", "node tls", "go tls", "nginx tls"])
async def test_others_are_verified(make, others: Others, kind: str) -> None:
    origin = others.origin(kind)
    with pytest.raises(ConnectFailed):
        await fetch(make(origin))  # an authority nobody knows
    with pytest.raises(ConnectFailed):
        await fetch(make(origin, ssl_context=trusting(others.authority), authority="shop.example"))
    assert (await fetch(make(origin, ssl_context=trusting(others.authority)), target="/body/5")).status == 200
