"""HTTP/1.1 to one origin, over httptools and asyncio's protocols."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable

from .answer import Limits
from .connect import shared_ssl_context
from .exchange import Buffered
from .head import HeaderBlocks, Origin, check_target, chunked_head, plain_request, verb
from .pool import Pool
from .protocol import Done
from .stream import Stream

__all__ = ["Http1Wire"]


class Http1Wire:
    """Sends to ``origin`` (``scheme://host[:port]``) over at most ``max_connections`` kept-alive connections.

    ``connect_timeout`` bounds a connection's making, name resolution and TLS included; ``max_body`` the bytes of a
    buffered body, as sent and as decoded; ``max_head`` and ``max_headers`` the head of an answer; ``idle`` is how many
    seconds an unused connection is kept. ``ssl_context`` is for ``https`` (default: system authorities, host names
    verified); client certificates are loaded into it. ``accept_encoding`` is sent with every buffered request that
    has none: between services compression costs more than it saves, so there is none by default. What comes coded
    is decoded all the same. ``authority`` (``host[:port]``) is whom to speak to when ``origin`` is but an address of
    theirs: it is sent as ``host``, and TLS verifies its name.

    Requests beyond ``max_connections`` wait in order of arrival. A request of an idempotent method is sent once more,
    over a new connection, when a reused one is dropped before the first byte of the answer. Cancellation is safe
    everywhere: an exchange that is given up closes its connection and frees its slot at once.
    """

    __slots__ = ("_accept", "_blocks", "_host", "_pool")

    def __init__(
        self,
        origin: str,
        *,
        connect_timeout: float,
        max_body: int,
        max_connections: int,
        max_head: int = 64 * 1024,
        max_headers: int = 128,
        idle: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
        accept_encoding: str | None = None,
        authority: str | None = None,
    ) -> None:
        where = Origin(origin, authority)
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        context = (ssl_context or shared_ssl_context()) if where.secure else None
        self._host = where.authority
        self._blocks = HeaderBlocks()
        self._accept = b"" if accept_encoding is None else b"accept-encoding: %b\r\n" % accept_encoding.encode("ascii")
        self._blocks.check(self._accept)
        self._pool = Pool(
            where,
            Limits(max_body, max_head, max_headers),
            size=max_connections,
            connect_timeout=connect_timeout,
            idle=idle,
            context=context,
        )

    @property
    def in_flight(self) -> int:
        """Exchanges that hold a connection or wait for one. One that is abandoned ends at once."""
        return self._pool.in_flight

    def send(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        timeout: float,
        done: Done,
        *,
        repeatable: bool = True,
        hurried: bool = False,  # noqa: ARG002 - whose fault a timeout is matters to who chooses among endpoints
    ) -> Buffered:
        """See ``Wire.send``. Raises ``ValueError`` when method, target or headers could not be sent as they are."""
        known = verb(method)
        check_target(target)
        self._blocks.check(headers)
        if self._accept and b"accept-encoding:" not in headers.lower():
            headers += self._accept
        request = plain_request(known, target, self._host, headers, body)
        exchange = Buffered(self._pool, request, repeatable and known.idempotent, known.head, done)
        self._pool.submit(exchange, timeout)
        return exchange

    def stream(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        *,
        length: int | None = None,
        idle: float | None = None,
        hurried: bool = False,  # noqa: ARG002 - see send
        host: bytes | None = None,
    ) -> Stream:
        """An exchange whose bodies are not held in memory, as an asynchronous context manager.

        See ``Wire.stream``; leaving early closes the connection, ``timeout`` includes connecting, ``max_body`` does
        not apply. ``host`` is sent instead of the origin's.
        """
        known = verb(method)
        check_target(target)
        self._blocks.check(headers)
        if host is not None:
            self._blocks.check(b"x: %b\r\n" % host)
        where = self._host if host is None else host
        if isinstance(body, bytes):
            request = plain_request(known, target, where, headers, body)
            return Stream(self._pool, request, known.idempotent, known.head, timeout, idle, None, None)
        request = chunked_head(known, target, where, headers, length)
        return Stream(self._pool, request, False, known.head, timeout, idle, body, length)

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        self._pool.close_idle()

    async def aclose(self) -> None:
        """See ``Wire.aclose``; returns when every socket is closed."""
        await self._pool.aclose()
