"""Where ``bff serve`` listens."""

from __future__ import annotations

import socket

import pytest

from bff_core import SettingsError
from bff_core.cli.serve import LISTENERS, listeners
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
