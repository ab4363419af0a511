"""Steps are done once, in order, all or none, whoever starts at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bff_core.errors import SettingsError
from bff_core.stores import migrate, open_store, sql_engine
from tests.stores.conftest import url_of


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty one of each kind."""
    return url_of(request.param, request, tmp_path)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """To that."""
    made = sql_engine(database)
    yield made
    await made.dispose()


async def rows(engine: AsyncEngine, statement: str) -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


async def second(connection: AsyncConnection) -> None:
    await connection.execute(text("INSERT INTO t VALUES ('two')"))


FIRST = "CREATE TABLE t (word VARCHAR(9))"
THIRD = "INSERT INTO t VALUES ('a:three')"  # no parameter


async def test_once_and_in_order(engine: AsyncEngine) -> None:
    """What was done is not done again; what was added is."""
    await migrate(engine, "room", [FIRST, second])
    await migrate(engine, "room", [FIRST, second])
    await migrate(engine, "room", [FIRST, second, THIRD, second])
    assert await rows(engine, "SELECT word FROM t") == [("two",), ("a:three",), ("two",)]
    done = await rows(engine, "SELECT room, step FROM bff_migrations ORDER BY step")
    assert done == [("room", 1), ("room", 2), ("room", 3), ("room", 4)]


async def test_rooms_count_for_themselves(engine: AsyncEngine) -> None:
    """One room's steps say nothing about another's."""
    await migrate(engine, "one", [FIRST])
    await migrate(engine, "two", ["CREATE TABLE u (n INTEGER)", "INSERT INTO u VALUES (1)"])
    await migrate(engine, "one", [FIRST, second])
    assert await rows(engine, "SELECT word FROM t") == [("two",)]


async def test_all_or_none(engine: AsyncEngine) -> None:
    """A step that fails takes those before it back, tables too; the next start does all of them."""
    await migrate(engine, "room", [FIRST])
    with pytest.raises(DBAPIError, match="nonsense"):
        await migrate(engine, "room", [FIRST, second, "CREATE TABLE u (n INTEGER)", "nonsense"])
    assert await rows(engine, "SELECT word FROM t") == []
    assert await rows(engine, "SELECT step FROM bff_migrations") == [(1,)]
    await migrate(engine, "room", [FIRST, second, "CREATE TABLE u (n INTEGER)"])
    assert await rows(engine, "SELECT word FROM t") == [("two",)]


async def test_an_older_release_is_refused(engine: AsyncEngine) -> None:
    """It does not know what the steps it does not have did."""
    await migrate(engine, "room", [FIRST, second])
    with pytest.raises(SettingsError, match="'room' is at step 2, the code ends at 1"):
        await migrate(engine, "room", [FIRST])
    await migrate(engine, "room", [FIRST, second])


async def test_a_store_of_an_older_release_is_refused(database: str, engine: AsyncEngine) -> None:
    """It says so at every call: no other is right by chance."""
    await migrate(engine, "values", ["SELECT 1"] * 99)
    store = open_store(database, namespace="n", timeout=20)
    for _ in range(2):
        with pytest.raises(SettingsError, match="newer than this code"):
            await store.get("k")
    await store.aclose()


async def test_replicas_that_start_at_once(database: str) -> None:
    """One does the steps, the others wait and find them done."""
    engines = [sql_engine(database, connections=1) for _ in range(10)]
    await asyncio.gather(*(migrate(engine, "room", [FIRST, second, THIRD]) for engine in engines))
    assert await rows(engines[0], "SELECT word FROM t") == [("two",), ("a:three",)]
    for engine in engines:
        await engine.dispose()
