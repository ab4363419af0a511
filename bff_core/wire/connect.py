"""Dialling: addresses raced as RFC 8305 ("happy eyeballs") says, then TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import cache
from itertools import chain, zip_longest
from typing import Any

from .head import Origin

__all__ = ["default_ssl_context", "dial", "shared_ssl_context"]

_STAGGER = 0.25

_Address = tuple[socket.AddressFamily, Any]


def default_ssl_context() -> ssl.SSLContext:
    """Certificates and host names are verified against the system's authorities; TLS 1.2 and above."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@cache
def shared_ssl_context() -> ssl.SSLContext:
    """The default, one for the process, which nobody may change: to read the authorities takes longer than all else
    that a client's start-up does."""
    return default_ssl_context()


async def dial(
    origin: Origin, context: ssl.SSLContext | None, timeout: float, protocol: Callable[[], asyncio.Protocol]
) -> None:
    """Connect ``protocol()`` to ``origin``, over TLS when ``context`` is given.

    Raises ``OSError`` (``ssl.SSLError`` is one) or ``TimeoutError``; nothing stays open when it raises or is
    cancelled, except a transport that the protocol has been given: closing that is the protocol's owner's part.
    """
    async with asyncio.timeout(timeout):
        loop = asyncio.get_running_loop()
        sock = await _race(loop, await _resolve(loop, origin.host, origin.port))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is None:
                await loop.create_connection(protocol, sock=sock)
            else:
                await loop.create_connection(
                    protocol,
                    sock=sock,
                    ssl=context,
                    server_hostname=origin.name,
                    ssl_handshake_timeout=timeout,
                    ssl_shutdown_timeout=1.0,
                )
        except BaseException:
            sock.close()
            raise


async def _resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[_Address]:
    """The addresses of ``host``, families taking turns, the resolver's first choice first."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return [(family, (host, port))]
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    if not addresses:
        raise OSError("the name has no address")
    first = [entry for entry in addresses if entry[0] == addresses[0][0]]
    rest = [entry for entry in addresses if entry[0] != addresses[0][0]]
    return [entry for entry in chain.from_iterable(zip_longest(first, rest)) if entry is not None]


async def _race(loop: asyncio.AbstractEventLoop, addresses: list[_Address]) -> socket.socket:
    """The first socket that connects: each further address is tried when the one before failed or takes long."""
    if len(addresses) == 1:
        return await _connect(loop, addresses[0])
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError("no address")
    waiting = iter(addresses)
    try:
        entry = next(waiting, None)
        while entry is not None or running:
            if entry is not None:
                running.add(loop.create_task(_connect(loop, entry)))
                entry = next(waiting, None)
            ended, running = await asyncio.wait(
                running, timeout=None if entry is None else _STAGGER, return_when=asyncio.FIRST_COMPLETED
            )
            winners = [task.result() for task in ended if task.exception() is None]
            for loser in winners[1:]:
                loser.close()
            if winners:
                return winners[0]
            for task in ended:
                failure = task.exception() or failure
        raise failure
    finally:
        for task in running:
            task.add_done_callback(_close)
            task.cancel()


async def _connect(loop: asyncio.AbstractEventLoop, address: _Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close(task: asyncio.Task[socket.socket]) -> None:
    """A connection that won a moment too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
