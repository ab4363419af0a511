"""Stores for the tests: one in memory that can be made to fail, and one in a file that survives a killed process."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from bff_core.stores import StoreUnavailable


class MemoryStore:
    """A dictionary. ``calls`` are the methods that were called; ``down`` makes every call fail, and ``fail_at`` the one
    of that number from now on, after (``lost``) or before it had an effect. ``crash`` is raised then instead."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.fail_at: int | None = None
        self.lost = False
        self.crash: type[BaseException] = StoreUnavailable

    async def get(self, key: str) -> bytes | None:
        self._before("get", key)
        value = self.values.get(key)
        self._after()
        return value

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._before("put", key)
        self.values[key] = value
        self._after()

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        self._before("swap", key)
        fits = self.values.get(key) == expected
        if fits:
            self.values[key] = value
        self._after()
        return fits

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        self._before("delete", key)
        fits = key in self.values and expected in (None, self.values[key])
        if fits:
            del self.values[key]
        self._after()
        return fits

    async def aclose(self) -> None:
        pass

    def expire(self, prefix: str) -> None:
        """The time to live of these keys is over."""
        for key in [key for key in self.values if key.startswith(prefix)]:
            del self.values[key]

    def _before(self, name: str, key: str) -> None:
        self.calls.append((name, key))
        if self.down or (self.fail_at == 0 and not self.lost):
            self.fail_at = None
            raise self.crash

    def _after(self) -> None:
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at < 0:
                self.fail_at = None
                raise self.crash


class FileStore:
    """A SQLite file, written through."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;")
        self._db.execute("CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value BLOB, ends REAL) WITHOUT ROWID")

    async def get(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM pairs WHERE key = ? AND ends > ?", (key, time.time())).fetchone()
        return row[0] if row is not None else None

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", (key, value, time.time() + ttl))

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        self._db.execute("BEGIN IMMEDIATE")
        fits = await self.get(key) == expected
        if fits:
            await self.put(key, value, ttl)
        self._db.execute("COMMIT")
        return fits

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        if expected is not None and await self.get(key) != expected:
            return False
        return self._db.execute("DELETE FROM pairs WHERE key = ?", (key,)).rowcount > 0

    async def aclose(self) -> None:
        self._db.close()
