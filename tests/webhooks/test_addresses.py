"""Which addresses and which URLs there may be."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.webhooks.addresses import allowed, public
from bff_core.webhooks.target import parse_url

CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.255.255.255", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::ffff:169.254.169.254", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:53aa:64c::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2002::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1",
]  # fmt: skip
OPEN = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
    "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:4860:4860::8888", "2606:4700::1111",
    "2a00::1",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_closed(text: str) -> None:
    assert allowed(text, ()) == (False, False)


@pytest.mark.parametrize("text", OPEN)
def test_open(text: str) -> None:
    assert allowed(text, ()) == (True, False)


def test_exceptions() -> None:
    exceptions = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    assert allowed("127.0.0.1", exceptions) == (True, True)
    assert allowed("::1", exceptions) == (True, True)
    assert allowed("10.0.0.1", exceptions) == (False, False)
    assert allowed("8.8.8.8", exceptions) == (True, False)
    assert allowed("nonsense", exceptions) == (False, False)


@given(st.ip_addresses())
def test_what_python_knows_to_be_special_is_closed(address: IPv4Address | IPv6Address) -> None:
    special = address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
    if special or address.is_reserved or address.is_unspecified:
        assert not public(address)


@given(st.ip_addresses(v=4))
def test_ipv4_within_ipv6_is_closed(inner: IPv4Address) -> None:
    value = int(inner)
    for outer in (0, 0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112 | value << 48, 0x20010000 << 96 | value << 64):
        assert not public(IPv6Address(outer | value))
    assert ip_address(value) == inner


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("https://a.example", "a.example", 443, "a.example", "/"),
        ("https://A.Example.:8443/x/y?z=1", "a.example", 8443, "a.example:8443", "/x/y?z=1"),
        ("https://a.example?z=1", "a.example", 443, "a.example", "/?z=1"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "8.8.8.8", "/"),
        ("https://[2606:4700:0::1111]:444/", "2606:4700::1111", 444, "[2606:4700::1111]:444", "/"),
        ("http://127.0.0.1:80/", "127.0.0.1", 80, "127.0.0.1", "/"),
    ],
)
def test_urls(url: str, host: str, port: int, authority: str, path: str) -> None:
    target = parse_url(url)
    assert (target.host, target.port, target.authority, target.path) == (host, port, authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "", "a.example", "ftp://a.example", "file:///etc/passwd", "gopher://a.example", "HTTPS://a.example", "https://",
        "https://user@a.example/", "https://user:word@a.example/", "https://a.example@127.0.0.1/",
        "https://a.example\\@127.0.0.1/", "https://a.example#@127.0.0.1/", "https://a.example/#x",
        "https://2130706433/", "https://0177.0.0.1/", "https://127.1/", "https://0x7f.1/", "https://0x7f000001/",
        "https://127.0.0.1.5/", "https://a.example.1/", "https://1.2.3.04/", "https://[::1", "https://[1.2.3.4]/",
        "https://[fe80::1%25eth0]/", "https://a..example/", "https://.example/", "https://./", "https://bücher.example/",
        "https://a.example:0/", "https://a.example:65536/", "https://a.example:/", "https://a.example:443x/",
        "https://a.example/ x", "https://a.example/\r\nx: y", "https://a.example/\x00", " https://a.example/",
        "https://a.example/\n", "https://a\u3002example/", "https://127.0.0.1%2f@a.example/",
        "https://" + "a" * 64 + ".example/", "https://" + "a." * 130 + "example/", "https://a.example/" + "x" * 2048,
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|has a|is longer"):
        parse_url(url)


@given(st.text(max_size=40))
def test_whatever_is_after_the_scheme(rest: str) -> None:
    """What is read has no user, no blank and one host."""
    try:
        target = parse_url(f"https://{rest}")
    except ValueError:
        return
    assert target.path.isascii()
    assert target.path.isprintable()
    assert " " not in target.path
    assert not set(target.host) & set("@/\\#?% ")
