"""One URL chooses the store."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import SettingsError
from .memory import MemoryKeyValueStore
from .postgres import PostgresDriver
from .protocols import KeyValueStore
from .sql import check_folder
from .sqlite import SqliteDriver
from .valkey import ValkeyKeyValueStore
from .values import Driver, SqlKeyValueStore

__all__ = ["open_store"]

VALKEY = ("valkey", "valkeys", "redis", "rediss")
CONNECTIONS = 8


def open_store(
    url: str,
    *,
    namespace: str,
    timeout: float = 0.25,
    connections: int = CONNECTIONS,
    clock: Callable[[], float] = time.monotonic,
) -> KeyValueStore:
    """The store that ``url`` names: ``memory://``, ``sqlite:///path``, ``postgresql://…``, ``valkey://…``,
    ``valkeys://…`` (TLS), or the same with ``redis``. Nothing is connected yet.

    Stores of another ``namespace`` (``gateway:room``) hold other values, in the same database too. A call takes
    ``timeout`` seconds at the most, then it raises ``StoreUnavailable``. ``connections`` to a server are opened as they
    are needed. ``clock`` is that of ``memory://``, in seconds; the others go by their own.

    Raises ``SettingsError`` for another URL, ``ImportError`` with the remedy when the extra is not installed.
    """
    if url == "memory://":
        return MemoryKeyValueStore(clock=clock)
    scheme = url.partition("://")[0].lower()
    if scheme in VALKEY:
        try:
            return ValkeyKeyValueStore(url, namespace=namespace, connections=connections, timeout=timeout)
        except ValueError:  # which may quote the URL
            raise SettingsError(f"the URL of a store cannot be read: '{scheme}://…'") from None
    driver: Driver
    if scheme == "sqlite":
        driver = SqliteDriver(_path(url), timeout=timeout)
    elif scheme == "postgresql":
        driver = PostgresDriver(url, connections=connections, timeout=timeout)
    else:
        raise SettingsError(
            "a store is memory://, sqlite:///path, postgresql://…, valkey://… or redis://… (valkeys://, rediss://: TLS)"
        )
    return SqlKeyValueStore(url, driver, namespace=namespace, timeout=timeout, clock=clock)


def _path(url: str) -> str:
    path = url.removeprefix("sqlite:///")
    if path in (url, "", ":memory:") or "?" in path:
        raise SettingsError("a SQLite store is sqlite:///path, without options; memory:// needs no file")
    check_folder(path)
    return path
