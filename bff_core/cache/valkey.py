"""Stored responses in Valkey, shared by the processes of a gateway. It may be gone at any time: that is a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import TypeVar

import structlog

from ..stores import valkey_client
from .codec import decode, encode
from .rfc9111 import Stored

__all__ = ["ValkeyStore"]

log = structlog.get_logger("bff.cache")

T = TypeVar("T")

PAUSE = 1.0  # seconds without asking after a failure
LOG_EVERY = 10.0
CONNECTIONS = 32
LONGEST_TTL = 2**31
DIGEST_SIZE = 16
# The names of a group's entries, by when they end, so that it holds no more of them than there are.
PUT = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], KEYS[1])
redis.call('PEXPIREAT', KEYS[2], redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
"""
FORGET = """
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('UNLINK', name) end
redis.call('UNLINK', KEYS[1])
"""


class ValkeyStore:
    """Entries under ``prefix`` in the Valkey at ``url`` (``valkey://``, ``valkeys://``, ``redis://``, ``unix://``...).

    An operation takes ``timeout`` seconds at most and never raises: whatever goes wrong is a miss, and a line in the
    log once in ten seconds. After the server failed or was slow it is left alone for a second; then one operation
    tries, and the others follow if that went well. Each value names its key, so none is ever taken for another's.
    For one event loop.
    """

    def __init__(
        self, url: str, *, prefix: str, timeout: float = 0.05, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = valkey_client(url, connections=CONNECTIONS, timeout=None)  # _ask bounds each command
        self._prefix = prefix.encode()
        self._put_script = self._client.register_script(PUT)
        self._forget_script = self._client.register_script(FORGET)
        self._timeout = timeout
        self._clock = clock
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._retry_at: float | None = None  # None while all is well
        self._log_at = float("-inf")
        self._closed = False

    async def get(self, key: bytes) -> Stored | None:
        """The entry, or None if there is none or it cannot be had in time."""
        name = self._prefix + key
        data = await self._ask("get", lambda: self._client.get(name))
        if data is None:
            return None
        stored = None
        if isinstance(data, bytes) and data.startswith(_digest(name)):
            stored = decode(data[DIGEST_SIZE:])
        if stored is None:
            self._report("get", "the value is not one of ours")
        return stored

    async def put(self, key: bytes, stored: Stored, ttl: float, group: bytes = b"") -> None:
        """Keep it for ``ttl`` seconds, if that can be done in time; it is forgotten with its ``group``."""
        if not ttl > 0:
            return
        name = self._prefix + key
        milliseconds = max(1, int(min(ttl, LONGEST_TTL) * 1000))
        value = _digest(name) + encode(stored)
        if group:
            await self._ask("put", lambda: self._put_script([name, self._group(group)], [value, milliseconds]))
        else:
            await self._ask("put", lambda: self._client.set(name, value, px=milliseconds))

    async def delete(self, key: bytes) -> None:
        """Forget it, if that can be done in time."""
        await self._ask("delete", lambda: self._client.delete(self._prefix + key))

    async def forget(self, group: bytes) -> None:
        """Forget all of a group, if that can be done in time."""
        await self._ask("forget", lambda: self._forget_script([self._group(group)]))

    async def aclose(self) -> None:
        """Close the connections; every later operation is a miss."""
        self._closed = True
        with suppress(Exception):
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()

    def _group(self, group: bytes) -> bytes:
        return self._prefix + b"\n" + group  # no key begins so

    async def _ask(self, operation: str, command: Callable[[], Awaitable[T]]) -> T | None:
        """What the command answers, or None if it fails, is late or is not sent."""
        from valkey.exceptions import ResponseError  # noqa: PLC0415 - an extra

        if self._closed:
            return None
        if self._retry_at is not None:
            now = self._clock()
            if now < self._retry_at:
                return None
            self._retry_at = now + PAUSE  # this operation tries, the others go on as before until it has succeeded
        try:
            async with asyncio.timeout(self._timeout), self._free:
                answer = await command()
        except ResponseError as error:  # it is there and quick: no reason to leave it alone
            self._report(operation, str(error))
        except Exception as error:  # noqa: BLE001 - the client raises errors of several libraries; all are a miss
            self._retry_at = self._clock() + PAUSE
            self._report(operation, str(error) or type(error).__name__)
            return None
        else:
            self._retry_at = None
            return answer
        self._retry_at = None
        return None

    def _report(self, operation: str, error: str) -> None:
        now = self._clock()
        if now >= self._log_at:
            self._log_at = now + LOG_EVERY
            log.warning("cache_failed", store="valkey", operation=operation, error=error)


def _digest(name: bytes) -> bytes:
    return blake2b(name, digest_size=DIGEST_SIZE).digest()
