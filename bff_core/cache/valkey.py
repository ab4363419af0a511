"""Stored responses in Valkey, shared by the processes of a gateway. It may be gone at any time: that is a miss."""

from __future__ import annotations

import asyncio
import struct
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
_ASKED = struct.Struct("!Q")  # behind the digest: when it was asked for, in microseconds of the server's time
MARK_SECONDS = 600  # longer than any answer is under way
TIME_EVERY = 10.0  # how often the server is asked for its time
MICROSECONDS = 1_000_000
QUICK = MICROSECONDS
# A target's mark is the server's time when it was last forgotten: what was asked for until then is worth nothing. An
# entry without its mark is none either. Entries make the mark if need be, and have it live as long as they do. There
# may have been one that was evicted, so a slow answer makes it and is not kept itself: it gives nothing back that was
# forgotten more than a second ago. A server whose time goes back has no mark go back. Of answers of one target that
# come at once, and there is no mark, the first to get here makes it, and what was asked for before that is not kept.
PUT = f"""
local mark = redis.call('GET', KEYS[2])
if mark and tonumber(mark) >= tonumber(ARGV[3]) then return end
if not mark then
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  if now - ARGV[3] > {QUICK} then
    redis.call('SET', KEYS[2], string.format('%.0f', now), 'PX', ARGV[2])
    return
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not mark then
  redis.call('SET', KEYS[2], string.format('%.0f', ARGV[3] - 1), 'PX', ARGV[2])
elseif redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
"""
FORGET = """
local time = redis.call('TIME')
local mark = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('GET', KEYS[1]) or 0) or 0)
local set = redis.pcall('SET', KEYS[1], string.format('%.0f', mark), 'PX', ARGV[1])
if set.err then redis.call('DEL', KEYS[1]) end
return time
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
        self._ahead = 0.0  # the server's time less ours, in seconds, at least
        self._time_at = float("-inf")  # when it was asked for
        self._log_at = float("-inf")
        self._closed = False

    async def get(self, key: bytes, target: bytes = b"", after: float | None = None) -> Stored | None:
        """The entry, or None if there is none, its ``target`` was forgotten since, or it cannot be had in time; nor is
        one of a target that was asked for until ``after``, an instant of ``time.monotonic``."""
        name = self._prefix + key
        # Rather too late than too early, for once.
        floor = 0 if after is None else await self._server_time(after + self._timeout)
        if floor is None:
            return None
        if target:
            names = [name, self._mark(target)]
            data, mark = await self._ask("get", lambda: self._client.mget(names)) or (None, None)
        else:
            data, mark = await self._ask("get", lambda: self._client.get(name)), None
        if data is None:
            return None
        stored = None
        if isinstance(data, bytes) and data.startswith(_digest(name)):
            stored = decode(data[DIGEST_SIZE + _ASKED.size :])
        if stored is None:
            self._report("get", "the value is not one of ours")
        elif target and not (
            mark and mark.isdigit() and _ASKED.unpack_from(data, DIGEST_SIZE)[0] > max(floor, int(mark))
        ):
            return None
        return stored

    async def put(
        self, key: bytes, stored: Stored, ttl: float, target: bytes = b"", asked: float | None = None
    ) -> None:
        """Keep it for ``ttl`` seconds, if that can be done in time. It is forgotten with its ``target``, also when that
        was between ``asked``, the instant of ``time.monotonic`` when it was asked for (now), and now."""
        if not ttl > 0:
            return
        name = self._prefix + key
        milliseconds = max(1, int(min(ttl, LONGEST_TTL) * 1000))
        if not target:
            value = _digest(name) + _ASKED.pack(0) + encode(stored)
            await self._ask("put", lambda: self._client.set(name, value, px=milliseconds))
            return
        since = await self._server_time(time.monotonic() if asked is None else asked)
        if since is not None:
            value = _digest(name) + _ASKED.pack(since) + encode(stored)
            names = [name, self._mark(target)]
            await self._ask("put", lambda: self._put_script(names, [value, milliseconds, since]))

    async def delete(self, key: bytes) -> None:
        """Forget it, if that can be done in time."""
        await self._ask("delete", lambda: self._client.delete(self._prefix + key))

    async def forget(self, target: bytes) -> bool:
        """Forget all of a target, and whatever was asked for before now; whether that could be done in time."""
        told = await self._ask("forget", lambda: self._forget_script([self._mark(target)], [MARK_SECONDS * 1000]))
        if told is not None:
            self._learn(*told)
        return told is not None

    async def aclose(self) -> None:
        """Close the connections; every later operation is a miss."""
        self._closed = True
        with suppress(Exception):
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()

    def _mark(self, target: bytes) -> bytes:
        return self._prefix + b"\n" + target  # no key begins so

    async def _server_time(self, instant: float) -> int | None:
        """The server's time at ``instant`` (of ``time.monotonic``), in microseconds since 1970 and rather too early
        than too late; None if it does not tell."""
        if time.monotonic() - self._time_at > TIME_EVERY:
            told = await self._ask("time", self._client.time)
            if told is None:
                return None
            self._learn(*told)
        return max(1, int((instant + self._ahead) * MICROSECONDS))

    def _learn(self, seconds: int | bytes, microseconds: int | bytes) -> None:
        """Take in the server's time. It was so late there when it answered, so by now it is at least that; an answer
        that seems to have been under way for longer than any is of a server whose time has gone back."""
        now = time.monotonic()
        ahead = int(seconds) + int(microseconds) / MICROSECONDS - now
        gone_back = ahead < self._ahead - self._timeout
        if ahead > self._ahead or gone_back or now - self._time_at > TIME_EVERY:
            self._ahead, self._time_at = ahead, now

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
