"""Limits counted in SQL: one transaction for all limits of a call, its rows locked in a fixed order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ..stores import sql_engine
from .rules import Decision, settle
from .store import Key, Limit, digest, wall_clock

__all__ = ["SqlLimits"]

T = TypeVar("T")
PURGE_EVERY = 300_000_000
PURGE_MOST = 1000
TABLE = "CREATE TABLE IF NOT EXISTS bff_limits (key TEXT PRIMARY KEY, state TEXT, until BIGINT NOT NULL)"
ALONE = "SELECT pg_advisory_xact_lock(hashtext('bff_limits'))"
WRITE = (
    "INSERT INTO bff_limits (key, state, until) VALUES (:key, :state, :until) "
    "ON CONFLICT (key) DO UPDATE SET state = excluded.state, until = excluded.until"
)
NOW = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


class SqlLimits:
    """Limits of ``gateway`` in the SQLite file or the PostgreSQL at ``url``, in the table ``bff_limits``, which it
    makes; every process that uses the same counts in the same. PostgreSQL's clock decides; a SQLite file has the
    machine's. Keys are the gateway's name and a digest; rows that are over are removed. For one event loop."""

    def __init__(self, url: str, gateway: str, *, clock: Callable[[], int] = wall_clock) -> None:
        self._postgresql = url.startswith("postgresql:")
        # A SQLite file has one writer: those of this process wait here, in order, instead of asking again and again.
        engine = sql_engine(url, connections=10 if self._postgresql else 1)
        self._engine = engine.execution_options(isolation_level="READ COMMITTED") if self._postgresql else engine
        self._gateway = gateway
        self._clock = clock
        self._made = False
        self._purge_at = 0
        self._running: set[asyncio.Task[Any]] = set()

    async def take(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        """As ``SharedLimits.take``."""
        return await self._run(self._decide(limits, keys, lease))

    async def give_back(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        """As ``SharedLimits.give_back``."""
        await self._run(self._return(limits, keys, lease))

    async def aclose(self) -> None:
        """Close the connections."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._engine.dispose()

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it; who gives it up need not wait for its connection to be put away, which takes seconds if the server
        does not answer, and for SQLite as long as another process holds the file."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # was raised to who waited, or nobody does

    async def _decide(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> Decision:
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        names = self._names(keys)
        async with self._engine.connect() as connection:
            await self._make(connection)
            async with connection.begin() as transaction:
                states, now = await self._lock(connection, names)
                verdicts = [
                    limit.rule.take(states[name], now, lease) for limit, name in zip(limits, names, strict=True)
                ]
                decision = settle([limit.name for limit in limits], verdicts)
                rows = [
                    _row(name, limit, verdict.state)
                    for limit, name, verdict in zip(limits, names, verdicts, strict=True)
                    if decision.allowed or (not verdict.allowed and states[name] != verdict.state)
                ]
                if rows:
                    await connection.execute(text(WRITE), rows)
                    await self._purge(connection, now)
                else:
                    await transaction.rollback()
        return decision

    async def _return(self, limits: Sequence[Limit], keys: Sequence[Key], lease: str) -> None:
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        names = self._names(keys)
        async with self._engine.connect() as connection:
            await self._make(connection)
            async with connection.begin():
                states, _ = await self._lock(connection, names)
                rows = [
                    _row(name, limit, limit.rule.give_back(states[name], lease))
                    for limit, name in zip(limits, names, strict=True)
                    if states[name] is not None
                ]
                if rows:
                    await connection.execute(text(WRITE), rows)

    def _names(self, keys: Sequence[Key]) -> list[str]:
        return [f"{self._gateway}:{digest(key)}" for key in keys]

    async def _make(self, connection: Any) -> None:
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        if self._made:
            return
        async with connection.begin():
            if self._postgresql:
                await connection.execute(text(ALONE))  # two that make one table at once: one of them would fail
            await connection.execute(text(TABLE))
        self._made = True

    async def _lock(self, connection: Any, names: Sequence[str]) -> tuple[dict[str, Any], int]:
        """What is remembered for ``names``, which are this transaction's from here on, and the time."""
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        ordered = sorted(names)  # whoever locks in the same order as all others waits for nobody who waits for him
        given = {f"k{number}": name for number, name in enumerate(ordered)}
        if self._postgresql:
            values = ", ".join(f"(:{name}, NULL, 0)" for name in given)
            statement = (
                f"INSERT INTO bff_limits (key, state, until) VALUES {values} ON CONFLICT (key) "  # noqa: S608 - k0, k1
                f"DO UPDATE SET until = bff_limits.until RETURNING key, state, {NOW}"
            )
            rows = (await connection.execute(text(statement), given)).all()
            now = max(row[2] for row in rows)
        else:
            places = ", ".join(f":{name}" for name in given)
            statement = f"SELECT key, state FROM bff_limits WHERE key IN ({places})"  # noqa: S608 - k0, k1
            rows = (await connection.execute(text(statement), given)).all()
            now = self._clock()
        states = dict.fromkeys(names)
        states.update({row[0]: None if row[1] is None else json.loads(row[1]) for row in rows})
        return states, now

    async def _purge(self, connection: Any, now: int) -> None:
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        if now < self._purge_at:
            return
        self._purge_at = now + PURGE_EVERY
        over = "SELECT key FROM bff_limits WHERE until < :now LIMIT :most"
        if self._postgresql:
            over += " FOR UPDATE SKIP LOCKED"
        await connection.execute(
            text(f"DELETE FROM bff_limits WHERE key IN ({over})"),  # noqa: S608 - the text above
            {"now": now, "most": PURGE_MOST},
        )


def _row(name: str, limit: Limit, state: Any) -> dict[str, Any]:
    return {"key": name, "state": json.dumps(state), "until": limit.rule.until(state)}
