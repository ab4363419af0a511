"""What a wire is: one origin, one exchange at a time asked for, as many in flight as its caller lets be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..errors import ServiceError

__all__ = ["Done", "Exchange", "Wire", "WireResponse"]


@dataclass(slots=True)
class WireResponse:
    """A complete answer. Header names are lower case; ``body`` is decoded (no content coding left)."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first value of the header ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


Done = Callable[[WireResponse | None, ServiceError | None], None]
"""Told once how an exchange ended: with a response, or with an error. Must not raise."""


class Exchange(Protocol):
    """A request on its way."""

    def abandon(self) -> None:
        """The answer is no longer wanted: ``done`` will not be called, what the exchange holds is freed."""


class Wire(Protocol):
    """Sends requests to one origin."""

    @property
    def in_flight(self) -> int:
        """Exchanges that hold a connection or wait for one, abandoned ones that have not ended included."""

    def send(self, method: str, target: str, headers: bytes, body: bytes, timeout: float, done: Done) -> Exchange:
        """Start an exchange; never waits.

        ``target`` is the request target in origin form, already percent-encoded. ``headers`` is a block of
        ``name: value`` lines, each ended by CRLF; ``host`` and ``content-length`` are the wire's to add.
        ``timeout`` (seconds) bounds the exchange from here to the last byte of the answer. ``done`` is called
        exactly once unless the exchange is abandoned, and never from within this call.
        """

    async def aclose(self) -> None:
        """Close every connection; exchanges in flight end with ``ConnectionLost``."""
