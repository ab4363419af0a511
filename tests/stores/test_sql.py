"""SQL engines: what a URL gives, and that transactions of SQLite do not fail half way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from bff_core.errors import SettingsError
from bff_core.stores import sql_engine


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


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite:relative.db", "", "postgresql"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///path or postgresql://"):
        sql_engine(url)
