"""Which addresses webhooks may be sent to: public ones, and what is allowed by name."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

__all__ = ["Network", "allowed", "public"]

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# The special-purpose registries of IANA (RFC 6890), and what clouds tell secrets at. Written out: what Python's own
# ipaddress calls global differs between its versions.
CLOSED_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
]  # fmt: skip
OPEN_V6 = IPv6Network("2000::/3")  # all that IANA has given out; mapped, translated, local addresses lie elsewhere
CLOSED_V6 = [
    IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
]  # fmt: skip


def public(address: Address) -> bool:
    """Whether ``address`` is one host of the public internet. An address that carries another within (mapped, NAT64,
    6to4, Teredo) is not: where it leads is decided elsewhere."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in CLOSED_V4)
    return address in OPEN_V6 and not any(address in network for network in CLOSED_V6)


def allowed(text: str, exceptions: Iterable[Network]) -> tuple[bool, bool]:
    """Whether the address written as ``text`` may be spoken to, and whether only because of ``exceptions``."""
    try:
        address = ip_address(text)
    except ValueError:
        return False, False
    if any(address in network for network in exceptions):
        return True, True
    return public(address), False
