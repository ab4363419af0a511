"""SQL: a SQLite file or a PostgreSQL server, by SQLAlchemy's asyncio engine; an extra of the framework."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["check_folder", "sql_engine"]

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
BUSY_MS = 5000


def sql_engine(url: str, *, connections: int = 10) -> AsyncEngine:
    """An engine for ``sqlite:///path`` or ``postgresql://user:password@host/database`` (with libpq's options, such as
    ``?sslmode=verify-full``) with so many connections at the most. Every transaction of SQLite takes the write lock as
    it begins, so that none fails half way; its file is in WAL mode and written through (``synchronous=FULL``). Errors
    name no parameters.

    Raises ``ImportError`` with the remedy when the extra is not installed, ``SettingsError`` for another URL, and for a
    SQLite file in a folder that is not there.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in DRIVERS or not separator:
        raise SettingsError(f"a SQL store is sqlite:///path or postgresql://…, not '{scheme}://…'")
    if scheme == "sqlite" and (path := rest.partition("?")[0].removeprefix("/")) not in ("", ":memory:"):
        check_folder(path)
    try:
        import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
        from sqlalchemy import event  # noqa: PLC0415
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("SQL stores need their drivers: pip install bff-core[sql]") from error
    options: dict[str, Any] = {"pool_size": connections, "max_overflow": 0, "hide_parameters": True}
    if scheme == "postgresql":
        options |= {"pool_pre_ping": True, "async_creator": lambda: asyncpg.connect(url)}  # the driver knows sslmode
    try:
        engine = create_async_engine(f"{DRIVERS[scheme]}://{rest}", **options)
    except (ArgumentError, ValueError):  # which quote the URL
        raise SettingsError(f"the URL of a SQL store cannot be read: '{scheme}://…'") from None
    if scheme == "sqlite":
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def check_folder(path: str) -> None:
    """Raises ``SettingsError`` when the folder of the file at ``path`` is not there: SQLite would not make it."""
    if not Path(path).parent.is_dir():
        raise SettingsError(f"{Path(path).parent} is no folder; make it, or name another in the store's URL")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing; _begin_immediate does
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _write_ahead(cursor)
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Replicas that enter WAL mode at once, with a new file, are told that it is busy without waiting for it."""
    ends = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                raise
            time.sleep(0.005)
        else:
            return


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
