"""Looking up a service's name."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

__all__ = ["resolve_addresses"]


async def resolve_addresses(origin: str) -> list[str]:
    """An origin for each address of the name in ``origin``, in a stable order; none when it cannot be looked up."""
    parts = urlsplit(origin)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    hosts = sorted({str(address[0]) for *_, address in found})
    return [f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts]
