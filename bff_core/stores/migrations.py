"""Schemas that change with the code: numbered steps, each done once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Step", "migrate"]

Step: TypeAlias = "str | Callable[[AsyncConnection], Awaitable[object]]"

LOCK = 0x6266665F6D6967  # an advisory lock of PostgreSQL: "bff_mig" as a number
TABLE = (
    "CREATE TABLE IF NOT EXISTS bff_migrations (room VARCHAR(100) NOT NULL, step INTEGER NOT NULL, "
    "done_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (room, step))"
)


async def migrate(engine: AsyncEngine, room: str, steps: Sequence[Step]) -> None:
    """Bring ``room``'s part of the database to where ``steps`` ends: those that it has not had are done, in order, in
    one transaction, while every other process that migrates waits. A step is one SQL statement in the database's own
    dialect, or an async function of the connection. What has been released is never changed: add a step.

    Raises ``SettingsError`` when the database has had more steps than there are, and what SQLAlchemy raises when a step
    fails: then none of them is done.
    """
    from sqlalchemy import text  # noqa: PLC0415 - an extra

    async with engine.begin() as connection:  # of SQLite this takes the write lock
        if connection.dialect.name == "postgresql":
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.execute(text(TABLE))
        last = text("SELECT coalesce(max(step), 0) FROM bff_migrations WHERE room = :room")
        done: int = (await connection.execute(last, {"room": room})).scalar_one()
        if done > len(steps):
            raise SettingsError(
                f"the database is newer than this code: '{room}' is at step {done}, the code ends at {len(steps)}; "
                "run the release that made it, or name another database"
            )
        for number, step in enumerate(steps[done:], done + 1):
            if isinstance(step, str):
                await connection.exec_driver_sql(step)
            else:
                await step(connection)
            note = text("INSERT INTO bff_migrations (room, step) VALUES (:room, :step)")
            await connection.execute(note, {"room": room, "step": number})
