"""What a wire is: one origin, one exchange at a time asked for, as many in flight as its caller lets be."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Callable
from typing import Protocol, Self

from ..errors import ServiceError

__all__ = ["Done", "Exchange", "Streamed", "Wire", "WireResponse", "header_names"]


class WireResponse:
    """A complete answer. Header names are lower case; ``body`` is decoded (no content coding left).

    ``headers`` may be given as the block of lines they came in, to be taken apart when somebody looks.
    """

    __slots__ = ("_block", "_headers", "body", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, block: bytes = b"") -> None:
        self.status = status
        self.body = body
        self._headers: list[tuple[bytes, bytes]] | None = None if block else headers
        self._block = block

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Pairs of name and value."""
        found = self._headers
        if found is None:
            found = self._headers = [
                (name.lower(), value.strip(b" \t"))
                for name, _, value in (line.partition(b":") for line in self._block.split(b"\r\n")[:-1])
            ]
        return found

    def header(self, name: bytes) -> bytes | None:
        """The first value of the header ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def has_any(self, names: re.Pattern[bytes]) -> bool:
        """Whether it has one of the headers that ``header_names`` made ``names`` of."""
        if self._headers is None:
            return names.search(b"\r\n" + self._block.lower()) is not None
        return any(names.match(b"\r\n%b:" % name) is not None for name, _ in self._headers)


def header_names(*names: str) -> re.Pattern[bytes]:
    """These headers (lower case), for ``WireResponse.has_any``."""
    return re.compile(b"\r\n(?:%b):" % b"|".join(re.escape(name).encode() for name in names))


Done = Callable[[WireResponse | None, ServiceError | None], None]
"""Told once how an exchange ended: with a response, or with an error. Must not raise."""


class Exchange(Protocol):
    """A request on its way."""

    def abandon(self) -> None:
        """The answer is no longer wanted: ``done`` will not be called, what the exchange holds is freed."""


class Streamed(Protocol):
    """An exchange whose bodies pass through and are never held as a whole. Enter it, read it, close it.

    Once it is entered the head of the answer is there. Entering and reading raise ``ServiceError``, or what the request
    body's own iterator raised. Safe to cancel anywhere.
    """

    @property
    def status(self) -> int:
        """The answer's status."""

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The answer's headers, names in lower case."""

    @property
    def waited(self) -> float:
        """Seconds from the end of the request to the head of the answer: what the service took, not the client."""

    @property
    def complete(self) -> bool:
        """Whether the whole answer has come and been read."""

    async def __aenter__(self) -> Self:
        """Send the request, wait for the head of the answer."""

    def rest(self) -> bytes | None:
        """What is left of the body, if all of it is there and the wire vouches for the form of the headers; nothing is
        left to be read then. Else None."""

    async def read(self) -> bytes:
        """What has come of the body, as it was sent (content codings are not undone); waits when that is nothing yet.
        Empty at the end."""

    async def aclose(self) -> None:
        """Give back what it holds; an answer that has not ended is given up."""


class Wire(Protocol):
    """Sends requests to one origin."""

    @property
    def in_flight(self) -> int:
        """Exchanges that hold a connection or wait for one, abandoned ones that have not ended included."""

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
        hurried: bool = False,
    ) -> Exchange:
        """Start an exchange; never waits.

        ``target`` is the request target in origin form, already percent-encoded. ``headers`` is a block of
        ``name: value`` lines, each ended by CRLF; ``host`` and ``content-length`` are the wire's to add.
        ``timeout`` (seconds) bounds the exchange from here to the last byte of the answer. ``done`` is called
        exactly once unless the exchange is abandoned, and never from within this call. What is idempotent may be sent
        once more when a connection that was used before ends without an answer, unless it is not ``repeatable``.
        ``hurried`` says that ``timeout`` is less than the service was promised: that it passed is not its fault.
        """

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
        hurried: bool = False,
    ) -> Streamed:
        """An exchange whose bodies pass through; nothing is sent before it is entered.

        ``timeout`` (seconds) bounds the wait for the head of the answer from the end of the request on, ``idle``
        (default: the same) each further wait for a piece of its body. A slow giver of the request's body and a slow
        reader of the answer cost the service no time. A body that is not ``bytes`` is sent chunked, or as ``length``
        bytes; ``hurried`` as for ``send``. Raises ``ValueError`` when method, target or headers could not be sent as
        they are.
        """

    async def aclose(self) -> None:
        """Close every connection; exchanges in flight end with ``ConnectionLost``."""
