"""SQLite, spoken to by the standard library in two threads: reads do not wait for writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote

from .values import Statements

__all__ = ["SqliteDriver"]

T = TypeVar("T")


class SqliteDriver:
    """For the file at ``path``; a write waits ``timeout`` seconds at the most while another process writes."""

    name = "sqlite"
    statements = Statements(
        now="CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",  # Unix time; unixepoch() is not in all
        mark="?",
        ended="IN (SELECT name FROM bff_values WHERE expires <= {now} LIMIT {rows})",
    )
    steps: Sequence[str] = (
        "CREATE TABLE bff_values (name BLOB PRIMARY KEY, value BLOB NOT NULL, expires INTEGER NOT NULL)",
        "CREATE INDEX bff_values_expires ON bff_values (expires)",
    )

    def __init__(self, path: str, *, timeout: float) -> None:
        self._reader = _Thread(path, timeout)
        self._writer = _Thread(path, timeout)

    async def value(self, statement: str, *parameters: object) -> bytes | None:
        """The first column of the first row."""
        row = await self._reader.run(lambda connection: connection.execute(statement, parameters).fetchone())
        return None if row is None else row[0]

    async def count(self, statement: str, *parameters: object) -> int:
        """How many rows were written."""
        return await self._writer.run(lambda connection: connection.execute(statement, parameters).rowcount)

    def lost(self, error: Exception) -> bool:
        """Whether the file was removed, or another is in its place."""
        return isinstance(error, FileNotFoundError) or str(error).startswith("no such table")

    async def aclose(self) -> None:
        """Close both connections, when their threads come to it."""
        self._reader.close()
        self._writer.close()


class _Thread:
    """One connection in a thread of its own. What is waiting for the thread when its caller leaves is not done."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="bff-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._work, work)

    def close(self) -> None:
        self._executor.submit(self._disconnect)
        self._executor.shutdown(wait=False)

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            file = self._identity()
        except FileNotFoundError:
            self._disconnect()
            raise
        if file != self._file:
            self._disconnect()  # what it would write nobody could read
        if self._connection is None:
            self._connection = self._connect()
            self._file = file
        return work(self._connection)

    def _identity(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)  # noqa: PTH116 - on the way of every call
        except FileNotFoundError:
            raise FileNotFoundError("the file was removed") from None
        return status.st_dev, status.st_ino

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?mode=rw",  # which makes no file
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
