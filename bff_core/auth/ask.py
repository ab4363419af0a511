"""Asking somebody over the framework's own wire: an issuer, an auth service, a token endpoint."""

from __future__ import annotations

import asyncio

import httpx

from ..errors import ServiceError
from ..wire import Http1Wire, HttpxWire, Wire, WireResponse

__all__ = ["MAX_CONNECTIONS", "Asked"]

MAX_ANSWER = 1024 * 1024
MAX_CONNECTIONS = 16


class Asked:
    """What is at one URL. Redirects are not followed: what we ask is chosen by settings alone.

    Raises ``ValueError`` when the URL is none of ours.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"is no URL: {error}") from None
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.fragment:
            raise ValueError("must be http(s)://host[:port]/path, without user and fragment")
        origin = f"{parsed.scheme}://{parsed.netloc.decode()}"
        self.url = url
        self.target = parsed.raw_path.decode()
        self._wire: Wire
        if transport is None:
            self._wire = Http1Wire(origin, connect_timeout=1.0, max_body=MAX_ANSWER, max_connections=MAX_CONNECTIONS)
        else:
            self._wire = HttpxWire(origin, transport, connect_timeout=1.0, max_body=MAX_ANSWER)

    async def ask(self, method: str, headers: bytes, body: bytes, timeout: float) -> WireResponse:
        """The answer, whatever its status, within ``timeout`` seconds; raises ``ServiceError``."""
        future: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()

        def done(response: WireResponse | None, error: ServiceError | None) -> None:
            if future.done():
                return
            if response is not None:
                future.set_result(response)
            else:
                future.set_exception(error or ServiceError())

        exchange = self._wire.send(method, self.target, headers, body, timeout, done)
        try:
            return await future
        except asyncio.CancelledError:
            exchange.abandon()
            raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()
