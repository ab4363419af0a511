"""SQL engines: what a URL gives, and that transactions of SQLite do not fail half way."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bff_core import RateLimit, Settings, create_bff
from bff_core.auth import StoredKeys
from bff_core.errors import SettingsError
from bff_core.stores import sql_engine
from bff_core.stores.sql import _prepare_sqlite


@pytest.mark.anyio
async def test_concurrent_read_then_write_transactions_all_commit(tmp_path: Path) -> None:
    engine = sql_engine(f"sqlite:///{tmp_path}/a b.db")
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES (0)"))

    async def add() -> None:
        async with engine.begin() as connection:
            n = (await connection.execute(text("SELECT n FROM counter"))).scalar_one()
            await connection.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    await asyncio.gather(*(add() for _ in range(50)))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT n FROM counter"))).scalar_one() == 50
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
    await engine.dispose()


def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite tells who enters WAL mode while another does that the file is busy, and does not wait."""

    def opened(file: Path, together: Barrier) -> None:
        connection = sqlite3.connect(file)
        together.wait()
        _prepare_sqlite(connection, None)
        connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
        connection.close()

    with ThreadPoolExecutor(10) as replicas:
        for number in range(100):
            file, together = tmp_path / f"{number}.db", Barrier(10)
            list(replicas.map(lambda _, file=file, together=together: opened(file, together), range(10)))


@pytest.mark.anyio
async def test_options_of_libpq(postgres_url: str) -> None:
    """``sslmode`` is how PostgreSQL's URLs ask for TLS; this server has none."""
    engine = sql_engine(f"{postgres_url}?sslmode=disable&application_name=gateway")
    async with engine.connect() as connection:
        assert (await connection.execute(text("SHOW application_name"))).scalar_one() == "gateway"
    await engine.dispose()
    engine = sql_engine(f"{postgres_url}?sslmode=require")
    with pytest.raises(ConnectionError, match="rejected SSL"):
        async with engine.connect():
            pass
    await engine.dispose()


@pytest.mark.anyio
async def test_errors_name_no_parameters(tmp_path: Path) -> None:
    """They may be what somebody may not read in a log."""
    engine = sql_engine(f"sqlite:///{tmp_path}/x.db")
    with pytest.raises(DBAPIError) as caught:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT * FROM missing WHERE x = :x"), {"x": "hunter2"})
    assert "hunter2" not in str(caught.value)
    await engine.dispose()


def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(SettingsError) as caught:
        sql_engine("postgresql://user:secret@host:secret/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:relative.db", "", "postgresql"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///path or postgresql://"):
        sql_engine(url)


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """By every room that has tables of its own, not by its first request."""
    url = f"sqlite:///{tmp_path}/missing/x.db"
    limit = RateLimit("all", "1/second", key=())
    for make in (
        lambda: sql_engine(url),
        lambda: StoredKeys(url, pepper=SecretStr("x" * 32)),
        lambda: create_bff("t", settings=Settings(limits_url=url), clients=[], limits=[limit]),
    ):
        with pytest.raises(SettingsError, match="missing is no folder"):
            make()
