"""Who the client is: read from the right, as far as who wrote it is trusted, whatever else the headers say."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import Settings, SettingsError
from bff_core.forwarded import TrustedProxies, network, node_address

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"])


def client(peer: str | None, *lines: tuple[str, str], proxies: TrustedProxies = PROXIES) -> str | None:
    return proxies.client_ip(peer, [(name.encode(), value.encode("latin-1")) for name, value in lines])


def xff(value: str) -> tuple[str, str]:
    return ("x-forwarded-for", value)


def forwarded(value: str) -> tuple[str, str]:
    return ("forwarded", value)


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        # whom nobody trusts says what he likes
        ("203.0.113.9", "1.2.3.4", "203.0.113.9"),
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
        # one proxy, and several
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("192.0.2.7", "203.0.113.9,10.1.1.1 ,\t10.0.0.2", "203.0.113.9"),
        ("192.0.2.8", "203.0.113.9", "192.0.2.8"),
        # what the client wrote stands on the left
        ("10.0.0.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.9, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "unknown, garbage, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "127.0.0.1", "127.0.0.1"),
        # everybody is a proxy: the first of them
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        # ports, brackets, IPv6
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "2001:DB8:0:0::17", "2001:db8::17"),
        ("10.0.0.1", "[2001:db8::17]:4711", "2001:db8::17"),
        ("10.0.0.1", "[2001:db8::17]", "2001:db8::17"),
        ("2001:db8:1::1", "2001:db8:2::1, 2001:db8:1::2", "2001:db8:2::1"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        # nothing there
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", ", ,", "10.0.0.1"),
        # what cannot be read ends the walk at whom wrote it
        ("10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, rubbish, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.9:", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:http", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9 10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "0x7f.1", "10.0.0.1"),
        ("10.0.0.1", "010.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "[203.0.113.9]", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1", "10.0.0.1"),
        ("10.0.0.1", "[2001:db8::1]x", "10.0.0.1"),
        ("10.0.0.1", "fe80::1%eth0", "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4" * 1000, "10.0.0.1"),
        ("10.0.0.1", "\xe4\xf6", "10.0.0.1"),
    ],
)
def test_x_forwarded_for(peer: str, header: str, expected: str) -> None:
    """The table of spoofs."""
    assert client(peer, xff(header)) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ('by="[2001:db8::1]:80" ; for="[2001:db8::17]:4711"', "2001:db8::17"),
        ('for="203.0.113.9:80"', "203.0.113.9"),
        ('for="203.0.113.9:_gazonk"', "203.0.113.9"),
        ("for=1.2.3.4, for=203.0.113.9", "203.0.113.9"),
        ("for=1.2.3.4, for=203.0.113.9;by=10.0.0.2, for=10.0.0.2", "203.0.113.9"),
        # an open quote, a comma in quotes, two fors: nothing swallows what the proxy appended
        ('for="1.2.3.4, for=203.0.113.9', "203.0.113.9"),
        ('for=1.2.3.4;x="a, for=203.0.113.9', "203.0.113.9"),
        ('for=1.2.3.4;x="\\", for=203.0.113.9', "203.0.113.9"),
        ('for=1.2.3.4, x=", for=10.0.0.2"', "10.0.0.1"),
        ("for=1.2.3.4;for=203.0.113.9", "10.0.0.1"),
        # no address
        ("for=unknown", "10.0.0.1"),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("proto=https", "10.0.0.1"),
        ("203.0.113.9", "10.0.0.1"),
        ("for", "10.0.0.1"),
        ('for="', "10.0.0.1"),
        ("for=203.0.113.9,", "10.0.0.1"),
    ],
)
def test_forwarded(header: str, expected: str) -> None:
    """RFC 7239 from the right."""
    assert client("10.0.0.1", forwarded(header)) == expected


def test_lines_are_one_list() -> None:
    """A second line of the header goes on where the first ended; names of other headers do not matter."""
    assert client("10.0.0.1", xff("1.2.3.4"), xff("203.0.113.9"), xff("10.0.0.2")) == "203.0.113.9"
    assert (
        client("10.0.0.1", forwarded("for=1.2.3.4"), ("x-real-ip", "9.9.9.9"), forwarded("for=10.0.0.2")) == "1.2.3.4"
    )


def test_two_headers_that_disagree() -> None:
    """A proxy appends to one of them and lets the other through as the client wrote it: neither is believed then."""
    assert client("10.0.0.1", xff("203.0.113.9"), forwarded("for=203.0.113.9")) == "203.0.113.9"
    assert client("10.0.0.1", xff("203.0.113.9"), forwarded("for=1.2.3.4")) == "10.0.0.1"
    assert client("10.0.0.1", xff("1.2.3.4"), forwarded("for=203.0.113.9")) == "10.0.0.1"


def test_without_proxies_or_peer() -> None:
    """Nobody is trusted unless somebody says so; a Unix socket has no address."""
    nobody = TrustedProxies()
    assert client("127.0.0.1", xff("1.2.3.4"), forwarded("for=1.2.3.4"), proxies=nobody) == "127.0.0.1"
    assert client("::ffff:127.0.0.1", proxies=nobody) == "127.0.0.1"
    assert client(None, xff("1.2.3.4")) is None
    assert client("testclient", xff("1.2.3.4")) is None


def test_networks() -> None:
    """What a client_ip limit counts by."""
    assert network("203.0.113.9") == "203.0.113.9"
    assert network("2001:db8:1:2:3:4:5:6") == network("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network(None) == ""


@given(st.text(max_size=80))
def test_whatever_is_there(text: str) -> None:
    """Any text is an address in its one form, or none."""
    found = node_address(text)
    assert found is None or found == str(ip_address(found))


@given(st.binary(max_size=60), st.ip_addresses())
def test_nothing_on_the_left_changes_what_the_proxy_said(spoof: bytes, address: object) -> None:
    """Whatever the client writes, its address is the one its proxy saw."""
    proxies = TrustedProxies(["192.0.2.7"])
    seen = node_address(str(address))
    if seen in (None, "192.0.2.7"):
        return
    lists = [(b"x-forwarded-for", spoof + f", {address}".encode())]
    assert proxies.client_ip("192.0.2.7", lists) == seen
    lists = [(b"forwarded", spoof + f', for="{f"[{address}]" if ":" in str(address) else address}"'.encode())]
    assert proxies.client_ip("192.0.2.7", lists) == seen


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with commas; a network that is none is told at start-up."""
    monkeypatch.setenv("BFF_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::/32,")
    assert Settings.load().trusted_proxies == ("10.0.0.0/8", "2001:db8::/32")
    for wrong in ("10.0.0.1/8", "localhost", "10.0.0.0/33"):
        monkeypatch.setenv("BFF_TRUSTED_PROXIES", wrong)
        with pytest.raises(SettingsError, match="trusted_proxies"):
            Settings.load()
    monkeypatch.delenv("BFF_TRUSTED_PROXIES")
    monkeypatch.setenv("BFF_LIMITS_URL", "mysql://x")
    with pytest.raises(SettingsError, match="limits_url"):
        Settings.load()
