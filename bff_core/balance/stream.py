"""A stream to one of many endpoints, and what it says about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

from ..errors import CallTimeout, ServiceError
from ..wire import Streamed
from .endpoint import Endpoint

__all__ = ["BalancedStream"]

Failed = Callable[[Endpoint, float, float], None]


class BalancedStream:
    """See ``Streamed``. The endpoint's latency is the wait for the head; its load, all the time until the end."""

    __slots__ = ("_broken", "_endpoint", "_failed", "_held", "_hurried", "_inner")

    def __init__(self, endpoint: Endpoint, inner: Streamed, failed: Failed, *, hurried: bool) -> None:
        self._endpoint = endpoint
        self._inner = inner
        self._failed = failed
        self._hurried = hurried
        self._held = False
        self._broken = False

    @property
    def status(self) -> int:
        """See ``Streamed.status``."""
        return self._inner.status

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """See ``Streamed.headers``."""
        return self._inner.headers

    @property
    def waited(self) -> float:
        """See ``Streamed.waited``."""
        return self._inner.waited

    @property
    def complete(self) -> bool:
        """See ``Streamed.complete``."""
        return self._inner.complete

    async def __aenter__(self) -> Self:
        endpoint, started = self._endpoint, time.monotonic()
        endpoint.started()
        try:
            await self._inner.__aenter__()
        except ServiceError as error:
            if self._hurried and isinstance(error, CallTimeout):
                endpoint.dropped()
            else:
                now = time.monotonic()
                self._failed(endpoint, now, now - started)
            raise
        except BaseException:
            endpoint.dropped()
            raise
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._failed(endpoint, time.monotonic(), self.waited)
        else:
            endpoint.succeeded(time.monotonic(), self.waited)
        endpoint.started()
        self._held = True
        return self

    def rest(self) -> bytes | None:
        """See ``Streamed.rest``."""
        return self._inner.rest()

    async def read(self) -> bytes:
        """See ``Streamed.read``."""
        try:
            return await self._inner.read()
        except ServiceError as error:
            self._broken = not isinstance(error, CallTimeout)
            raise

    async def aclose(self) -> None:
        """See ``Streamed.aclose``."""
        if self._held:
            self._held = False
            if self._broken:
                self._failed(self._endpoint, time.monotonic(), self.waited)
            else:
                self._endpoint.dropped()
        await self._inner.aclose()
