"""Where ``bff serve`` listens."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from bff_core import SettingsError
from bff_core.cli.serve import LISTENERS, listeners, serve
from bff_core.testing import refused_port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_connection_may_come_by_each(host: str) -> None:
    """All copies of an address are one socket: whichever is asked takes who is there."""
    port = refused_port()
    found = listeners(host, port)
    addresses = {one.getsockname()[:2] for one in found}
    assert ("127.0.0.1", port) in addresses
    assert len(found) == LISTENERS * len(addresses)
    for one in found:
        one.listen()
        one.setblocking(False)
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
        mine = [one for one in found if one.family == socket.AF_INET]
        for one in (mine[0], mine[-1]):
            connection, _ = one.accept()
            connection.close()
    for one in found:
        one.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1 port {port}: Address already in use"):
            listeners("127.0.0.1", port)


def test_a_host_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on no\.such\.host\.invalid port 1"):
        listeners("no.such.host.invalid", 1)


def test_operations_are_not_where_the_gateway_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything listens: they would answer everybody in its place."""
    port = refused_port()
    (tmp_path / "same_port.py").write_text(
        "from bff_core import Settings, create_bff\n"
        f"app = create_bff('same', settings=Settings(ops_port={port}), clients=[])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys.modules["bff_core.cli.serve"], "listeners", lambda *_: pytest.fail("it listens"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SettingsError, match=rf"\(BFF_OPS_PORT\) cannot both have port {port}; set another one"):
        serve("same_port:app", "127.0.0.1", port)
