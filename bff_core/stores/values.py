"""Values in a SQL database: one table for all gateways and rooms, expiry by the database's clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from ..errors import SettingsError
from .migrations import migrate
from .names import milliseconds, name_of
from .protocols import StoreUnavailable
from .sql import sql_engine

__all__ = ["Driver", "SqlKeyValueStore", "Statements"]

T = TypeVar("T")

ROOM = "values"
PREPARE_SECONDS = 10.0
SWEEP_EVERY = 60.0
SWEEP_ROWS = 1000


class Statements:
    """What is said to a database whose clock reads ``now`` (milliseconds), whose parameters are ``mark`` 1 to 4, and
    that finds the names of what has ``ended``."""

    def __init__(self, *, now: str, mark: str, ended: str) -> None:
        def say(template: str) -> str:
            return template.format(p=mark, now=now, rows=SWEEP_ROWS)

        living = say("WHERE name = {p}1 AND expires > {now}")
        self.get = say("SELECT value FROM bff_values ") + living
        self.put = say(
            "INSERT INTO bff_values (name, value, expires) VALUES ({p}1, {p}2, {now} + {p}3) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value, expires = excluded.expires"
        )
        self.add = self.put + say(" WHERE bff_values.expires <= {now}")
        self.swap = (
            say("UPDATE bff_values SET value = {p}2, expires = {now} + {p}3 ") + living + say(" AND value = {p}4")
        )
        self.delete = say("DELETE FROM bff_values ") + living
        self.delete_if = self.delete + say(" AND value = {p}2")
        self.sweep = say("DELETE FROM bff_values WHERE name ") + say(ended)


class Driver(Protocol):
    """How one statement is carried out, each in a transaction of its own. Any exception is a failure of the store."""

    name: str
    statements: Statements
    steps: Sequence[str]

    async def value(self, statement: str, *parameters: object) -> bytes | None:
        """The first column of the first row."""

    async def count(self, statement: str, *parameters: object) -> int:
        """How many rows were written."""

    def lost(self, error: Exception) -> bool:
        """Whether the error says that the table is not there any more."""

    async def aclose(self) -> None:
        """Let go of connections."""


class SqlKeyValueStore:
    """Values in the database at ``url``, written through before a write returns. The first call makes the table; rows
    that have ended are removed once a minute, when there are writes. Nothing waits longer than ``timeout`` seconds."""

    def __init__(
        self,
        url: str,
        driver: Driver,
        *,
        namespace: str,
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = sql_engine(url, connections=1)
        self._driver = driver
        self._say = driver.statements
        self._namespace = namespace
        self._timeout = timeout
        self._clock = clock
        self._sweep_at = clock() + SWEEP_EVERY
        self._sweeping: asyncio.Task[None] | None = None
        self._ready = False
        self._preparing: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        """The value, while it lives."""
        return await self._ask(self._driver.value, self._say.get, name_of(self._namespace, key))

    async def put(self, key: str, value: bytes, ttl: float) -> None:
        """Write it, whatever was there."""
        await self._write(self._say.put, key, value, milliseconds(ttl))

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        """Write ``value`` if ``expected`` is there; whether it was written."""
        if expected is None:
            return await self._write(self._say.add, key, value, milliseconds(ttl)) > 0
        return await self._write(self._say.swap, key, value, milliseconds(ttl), expected) > 0

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove it; whether something was removed."""
        if expected is None:
            return await self._write(self._say.delete, key) > 0
        return await self._write(self._say.delete_if, key, expected) > 0

    async def aclose(self) -> None:
        """Let go of connections; what is under way fails."""
        if self._closed:
            return
        self._closed = True
        tasks = [task for task in (self._sweeping, self._preparing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._driver.aclose()

    async def _write(self, statement: str, key: str, *parameters: object) -> int:
        written = await self._ask(self._driver.count, statement, name_of(self._namespace, key), *parameters)
        if self._clock() >= self._sweep_at and (self._sweeping is None or self._sweeping.done()):
            self._sweep_at = self._clock() + SWEEP_EVERY
            self._sweeping = asyncio.get_running_loop().create_task(self._sweep())
        return written

    async def _sweep(self) -> None:
        try:
            while await self._ask(self._driver.count, self._say.sweep) == SWEEP_ROWS:
                pass
        except (StoreUnavailable, SettingsError):
            pass  # the next one will, or somebody is told

    async def _ask(self, carry_out: Callable[..., Awaitable[T]], statement: str, *parameters: object) -> T:
        if self._closed:
            raise StoreUnavailable(f"{self._driver.name}: the store is closed")
        try:
            async with asyncio.timeout(self._timeout):
                if not self._ready:
                    await self._prepare()
                return await carry_out(statement, *parameters)
        except (SettingsError, StoreUnavailable):
            raise
        except TimeoutError:
            raise StoreUnavailable(f"{self._driver.name}: no answer within {self._timeout} s") from None
        except Exception as error:  # noqa: BLE001 - drivers raise errors of several libraries
            if self._driver.lost(error):
                self._ready = False
            raise StoreUnavailable(f"{self._driver.name}: {_reason(error)}") from None

    async def _prepare(self) -> None:
        """Make the table, once for all who wait for it; whoever leaves does not stop it."""
        preparing = self._preparing
        if preparing is None or preparing.done():
            self._preparing = preparing = asyncio.get_running_loop().create_task(self._migrate())
            preparing.add_done_callback(_heard)
        await asyncio.wait([preparing])
        if preparing.cancelled():
            raise StoreUnavailable(f"{self._driver.name}: the store is closed")
        preparing.result()

    async def _migrate(self) -> None:
        try:
            async with asyncio.timeout(PREPARE_SECONDS):
                await migrate(self._engine, ROOM, self._driver.steps)
            self._ready = True
        finally:
            await self._engine.dispose()


def _heard(task: asyncio.Task[None]) -> None:
    """All who waited may have left by now: that is no error that nobody looked at."""
    if not task.cancelled():
        task.exception()


def _reason(error: Exception) -> str:
    """The error in a line, without the statement that SQLAlchemy adds or the row that PostgreSQL does."""
    error = getattr(error, "orig", None) or error
    said = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {said}".removesuffix(": ")
