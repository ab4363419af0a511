"""Who the client is, when proxies stand before the gateway: ``Forwarded`` (RFC 7239) and ``X-Forwarded-For``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from .errors import SettingsError

__all__ = ["TrustedProxies", "network", "node_address"]

LONGEST = 64
REMEMBERED = 4096


class TrustedProxies:
    """The proxies whose word is taken: addresses and networks (CIDR).

    Each proxy appends whom it was asked by, so the headers are read from their right end, for as long as the one who
    wrote is trusted. The first address that is not a proxy's is the client's; what stands left of it anybody may have
    written. Raises ``SettingsError`` for a network that is none.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [_network(text) for text in networks]
        self._trusts = lru_cache(REMEMBERED)(self._contains)

    def client_ip(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """The client's address in its canonical form, an IPv4-mapped IPv6 address as IPv4. ``peer`` is whom the
        connection is from, ``headers`` are the request's (names in lower case). None when the peer has no address.

        A request with both headers, whose answers differ, is the proxy's own: one of the two was written by the client.
        The same goes for what cannot be read.
        """
        chain = self.chain(peer, headers)
        return chain[0] if chain else None

    def chain(self, peer: str | None, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:
        """The addresses from the client's to that of ``peer``, in the order in which they were passed: those of the
        client and of each proxy that is trusted. Empty when the peer has no address."""
        nearest = None if peer is None else node_address(peer)
        if nearest is None:
            return ()
        if not self._networks or not self._trusts(nearest):
            return (nearest,)
        listed = [value for name, value in headers if name == b"x-forwarded-for"]
        forwarded = [value for name, value in headers if name == b"forwarded"]
        if not forwarded:
            return self._walk(nearest, listed, standard=False)
        chain = self._walk(nearest, forwarded, standard=True)
        if listed and chain[0] != self._walk(nearest, listed, standard=False)[0]:
            return (nearest,)
        return chain

    def _walk(self, nearest: str, lines: list[bytes], *, standard: bool) -> tuple[str, ...]:
        chain = [nearest]  # from the right
        for line in reversed(lines):
            # By commas, whatever is in quotes: an address has none, and a client's open quote must not swallow what a
            # proxy has appended to it.
            for element in reversed(line.decode("latin-1").split(",")):
                node = _for(element) if standard else element.strip(" \t")
                if not node and not standard:
                    continue  # an empty element of a list is none (RFC 9110 section 5.6.1)
                address = None if node is None else node_address(node)
                if address is None:
                    return tuple(reversed(chain))
                chain.append(address)
                if not self._trusts(address):
                    return tuple(reversed(chain))
        return tuple(reversed(chain))

    def _contains(self, address: str) -> bool:
        known = ip_address(address)
        return any(known in network for network in self._networks)


@lru_cache(REMEMBERED)
def node_address(node: str) -> str | None:
    """The address of ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, canonical; None of
    anything else, such as ``unknown`` and ``_hidden`` (RFC 7239 section 6)."""
    if len(node) > LONGEST:
        return None
    host, port = node, ""
    if node.startswith("["):
        host, closed, rest = node[1:].partition("]")
        if not closed or ":" not in host or (rest and not rest.startswith(":")):
            return None
        port = rest[1:] or ("x" if rest else "")
    elif node.count(":") == 1:
        host, _, port = node.partition(":")
        port = port or "x"
    if "%" in host or (port and not (port.isascii() and port.isdigit()) and not port.startswith("_")):
        return None
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return str(_unmapped(address))


def network(address: str | None) -> str:
    """Whose address it is, for counting: an IPv4 address itself, of an IPv6 address the /64, as one subscriber has all
    of it; of None nothing."""
    if address is None or ":" not in address:
        return address or ""
    return _network_64(address)


@lru_cache(REMEMBERED)
def _network_64(address: str) -> str:
    return str(IPv6Network((address, 64), strict=False))


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _for(element: str) -> str | None:
    """The value of the one ``for`` of a forwarded-element; None when there is none, or it cannot be read."""
    found = None
    for pair in element.split(";"):
        name, separator, value = pair.strip(" \t").partition("=")
        if not separator or name.lower() != "for":
            continue
        if found is not None:
            return None
        found = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return found


def _network(text: str):  # type: ignore[no-untyped-def]  # IPv4Network | IPv6Network, which typeshed keeps apart
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise SettingsError(f"trusted_proxies: {error}; one is 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32") from None
