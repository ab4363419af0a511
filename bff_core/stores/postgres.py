"""PostgreSQL, spoken to by asyncpg over a few connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .values import Statements

if TYPE_CHECKING:
    from asyncpg import Connection  # type: ignore[import-untyped]

__all__ = ["PostgresDriver"]

T = TypeVar("T")


class PostgresDriver:
    """For the database at ``url``. A connection that an exchange was broken off on is cut, not used again; the server
    gives up a statement after ``timeout`` seconds, as its caller does."""

    name = "postgresql"
    statements = Statements(
        now="(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        mark="$",
        # An array is looked up once, and rows that somebody is writing are left alone.
        ended="= ANY(ARRAY(SELECT name FROM bff_values WHERE expires <= {now} LIMIT {rows} FOR UPDATE SKIP LOCKED))",
    )
    steps: Sequence[str] = (
        "CREATE TABLE bff_values (name BYTEA PRIMARY KEY, value BYTEA NOT NULL, expires BIGINT NOT NULL)",
        "CREATE INDEX bff_values_expires ON bff_values (expires)",
    )

    def __init__(self, url: str, *, connections: int, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._most = connections
        self._free = asyncio.Semaphore(connections)
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False

    async def value(self, statement: str, *parameters: object) -> bytes | None:
        """The first column of the first row."""
        return await self._with_connection(lambda connection: connection.fetchval(statement, *parameters))

    async def count(self, statement: str, *parameters: object) -> int:
        """How many rows were written."""
        status = await self._with_connection(lambda connection: connection.execute(statement, *parameters))
        return int(status.rpartition(" ")[2])

    def lost(self, error: Exception) -> bool:
        """Whether the table is gone."""
        return getattr(error, "sqlstate", None) == "42P01"  # undefined_table

    async def aclose(self) -> None:
        """Close the connections that are not in use; the others go after their answer."""
        self._closed = True
        await asyncio.gather(*self._opening, return_exceptions=True)
        await asyncio.gather(*(self._close(connection) for connection in self._idle), return_exceptions=True)
        self._idle.clear()

    async def _with_connection(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async with self._free:
            connection = await self._connection()
            try:
                answer = await work(connection)
            except BaseException:
                connection.terminate()
                raise
            self._keep(connection)
            return answer

    def _keep(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self._most:
            connection.terminate()
        else:
            self._idle.append(connection)

    async def _connection(self) -> Connection:
        while not self._closed:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
            opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opened)
            await asyncio.wait([opening])
            opening.result()
        raise ConnectionError("the store is closed")

    async def _open(self) -> None:
        """In a task of its own: the driver does not like to be broken off while it connects, and if the caller leaves,
        another has use for it."""
        import asyncpg  # noqa: PLC0415 - an extra

        limit = str(max(1, int(self._timeout * 1000)))
        settings = {"statement_timeout": limit}
        self._keep(await asyncpg.connect(self._url, timeout=self._timeout, server_settings=settings))

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited may have left

    async def _close(self, connection: Connection) -> None:
        try:
            await connection.close(timeout=self._timeout)
        except Exception:  # noqa: BLE001 - it may be broken in any way
            connection.terminate()
