"""Valkey, by its asyncio client; an extra of the framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha1
from typing import TYPE_CHECKING, Any, TypeVar

from .names import milliseconds, name_of
from .protocols import StoreUnavailable

if TYPE_CHECKING:
    from valkey.asyncio import Valkey

__all__ = ["ValkeyKeyValueStore", "valkey_client"]

T = TypeVar("T")


def valkey_client(url: str, *, connections: int, timeout: float | None = 5.0) -> Valkey:
    """A client of the Valkey at ``url`` with so many connections at the most. Connecting, sending and receiving take
    ``timeout`` seconds each at the most; None, which is cheaper, is for whoever bounds each whole command.

    Raises ``ImportError`` with the remedy when the extra is not installed, ``ValueError`` for a URL that is none.
    """
    try:
        from valkey.asyncio import Valkey  # noqa: PLC0415 - an extra
        from valkey.asyncio.retry import Retry  # noqa: PLC0415
        from valkey.backoff import NoBackoff  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("Valkey needs its client: pip install bff-core[valkey]") from error
    # One retry of connecting at once; a command is never sent twice: it may have been carried out.
    client: Valkey = Valkey.from_url(
        url,
        max_connections=connections,
        retry=Retry(NoBackoff(), 1),
        decode_responses=False,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )
    return client


class _Script:
    """Lua that the server knows by its SHA-1, and is told again when it has forgotten."""

    def __init__(self, lua: str) -> None:
        self._lua = lua
        self._sha = sha1(lua.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Any, name: bytes, *arguments: bytes | int) -> int:
        from valkey.exceptions import NoScriptError  # noqa: PLC0415 - an extra

        try:
            answer: int = await client.evalsha(self._sha, 1, name, *arguments)
        except NoScriptError:
            answer = await client.eval(self._lua, 1, name, *arguments)
        return answer


SWAP = _Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")
DELETE_IF = _Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


class ValkeyKeyValueStore:
    """Values in the Valkey or Redis at ``url``, under ``bff:{namespace}:``; expiry by the server's clock. Nothing waits
    longer than ``timeout`` seconds."""

    def __init__(self, url: str, *, namespace: str, connections: int, timeout: float) -> None:
        self._client: Any = valkey_client(url, connections=connections, timeout=None)
        self._prefix = f"bff:{namespace}:".encode()
        self._namespace = namespace
        self._timeout = timeout
        self._free = asyncio.Semaphore(connections)
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        """The value, while it lives."""
        name = self._name(key)
        value: bytes | None = await self._ask(lambda: self._client.get(name))
        return value

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write it, whatever was there."""
        lifetime = milliseconds(ttl)
        name = self._name(key)
        if lifetime == 0:
            await self._ask(lambda: self._client.delete(name))
        else:
            await self._ask(lambda: self._client.set(name, value, px=lifetime))

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        """Write ``value`` if ``expected`` is there; whether it was written."""
        lifetime = milliseconds(ttl)
        if lifetime == 0:
            return await self.get(key) is None if expected is None else await self.delete(key, expected)
        name = self._name(key)
        if expected is None:
            return bool(await self._ask(lambda: self._client.set(name, value, px=lifetime, nx=True)))
        return await self._ask(lambda: SWAP(self._client, name, expected, value, lifetime)) == 1

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove it; whether something was removed."""
        name = self._name(key)
        if expected is None:
            removed: int = await self._ask(lambda: self._client.delete(name))
        else:
            removed = await self._ask(lambda: DELETE_IF(self._client, name, expected))
        return removed == 1

    async def aclose(self) -> None:
        """Close the connections; what is under way fails."""
        self._closed = True
        with suppress(Exception):
            async with asyncio.timeout(self._timeout):
                await self._client.aclose()

    def _name(self, key: str) -> bytes:
        return self._prefix + name_of(self._namespace, key)

    async def _ask(self, command: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise StoreUnavailable("valkey: the store is closed")
        try:
            async with asyncio.timeout(self._timeout), self._free:
                return await command()
        except TimeoutError:
            raise StoreUnavailable(f"valkey: no answer within {self._timeout} s") from None
        except Exception as error:  # noqa: BLE001 - the client raises errors of several libraries
            said, _, _ = str(error).partition(", with args")  # which may be a value
            raise StoreUnavailable(f"valkey: {type(error).__name__}: {said}") from None
