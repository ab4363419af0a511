"""What a webhook's URL may look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

__all__ = ["Target", "parse_url"]

LONGEST = 2048
URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-~]*)?(?P<query>\?[!-~]*)?"
)
DEFAULT_PORTS = {"http": 80, "https": 443}
HIGHEST_PORT = 65535
LONGEST_NAME, LONGEST_LABEL = 253, 63
NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, taken apart: whom to speak to (``authority`` is ``host[:port]``, as in a URL) and what to ask for."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def parse_url(url: str) -> Target:
    """``https://host[:port][/path][?query]``, with nothing that one reader could take for another host than the next.

    ``http`` is read as well; who connects decides about it. Raises ``ValueError`` that says what is wrong.
    """
    if len(url) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    found = URL.fullmatch(url)
    if found is None or "#" in url or "\\" in url:
        raise ValueError("must be https://host[:port][/path], in ASCII, without user, password or fragment")
    scheme, written = found["scheme"], found["host"]
    host = _literal(written) if written.startswith("[") else _name(written)
    port = DEFAULT_PORTS[scheme] if found["port"] is None else int(found["port"])
    if not 0 < port <= HIGHEST_PORT:
        raise ValueError("has a port that there is not")
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    return Target(scheme, host, port, authority, (found["path"] or "/") + (found["query"] or ""))


def _literal(written: str) -> str:
    try:
        return str(IPv6Address(written[1:-1]))
    except ValueError:
        raise ValueError("has a host that is no IPv6 address") from None


def _name(written: str) -> str:
    host = written.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > LONGEST_NAME or any(not 0 < len(label) <= LONGEST_LABEL for label in labels):
        raise ValueError("has a host that is no name")
    if NUMBER.fullmatch(labels[-1]):
        # Resolvers read 127.1, 0177.0.0.1 and 2130706433 as addresses, each in its own way.
        try:
            return str(ip_address(host))
        except ValueError:
            raise ValueError("has a host that is neither a name nor an address as usually written") from None
    return host
