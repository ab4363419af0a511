"""The tables of webhooks, and the statements that both databases understand."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from ..stores import migrate

__all__ = ["new_id", "prepare"]

ROOM = "webhooks"
WORDS: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "bytes": "BLOB", "double": "REAL"},
    "postgresql": {
        "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "bytes": "BYTEA",
        "double": "DOUBLE PRECISION",
    },
}

# Instants are milliseconds of Unix time. An endpoint is a lane: whoever leases it delivers to it, alone.
STEPS = (
    """
    CREATE TABLE bff_webhook_endpoints (
        id VARCHAR(64) PRIMARY KEY, owner VARCHAR(512) NOT NULL, url VARCHAR(2048) NOT NULL,
        description VARCHAR(500) NOT NULL, version VARCHAR(100), ordered BOOLEAN NOT NULL, rate {double},
        status VARCHAR(16) NOT NULL, reason VARCHAR(32), created_at BIGINT NOT NULL, pinged_at BIGINT NOT NULL,
        lease VARCHAR(64), leased_until BIGINT NOT NULL, served_at BIGINT NOT NULL, paused_until BIGINT NOT NULL,
        failing_since BIGINT, warned BOOLEAN NOT NULL
    )
    """,
    "CREATE INDEX bff_webhook_endpoints_owner ON bff_webhook_endpoints (owner, id)",
    """
    CREATE TABLE bff_webhook_types (
        endpoint VARCHAR(64) NOT NULL, type VARCHAR(100) NOT NULL, PRIMARY KEY (endpoint, type)
    )
    """,
    """
    CREATE TABLE bff_webhook_secrets (
        id VARCHAR(64) PRIMARY KEY, endpoint VARCHAR(64) NOT NULL, kind VARCHAR(8) NOT NULL, sealed {bytes} NOT NULL,
        created_at BIGINT NOT NULL, ends_at BIGINT
    )
    """,
    "CREATE INDEX bff_webhook_secrets_endpoint ON bff_webhook_secrets (endpoint)",
    """
    CREATE TABLE bff_webhook_events (
        id VARCHAR(64) PRIMARY KEY, owner VARCHAR(512) NOT NULL, type VARCHAR(100) NOT NULL,
        created_at BIGINT NOT NULL, data TEXT NOT NULL, only_for VARCHAR(64)
    )
    """,
    "CREATE INDEX bff_webhook_events_owner ON bff_webhook_events (owner, created_at)",
    "CREATE INDEX bff_webhook_events_age ON bff_webhook_events (created_at)",
    """
    CREATE TABLE bff_webhook_deliveries (
        id {serial}, endpoint VARCHAR(64) NOT NULL, event VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL,
        reason VARCHAR(32), attempts INTEGER NOT NULL, step INTEGER NOT NULL, due_at BIGINT NOT NULL,
        created_at BIGINT NOT NULL, UNIQUE (event, endpoint)
    )
    """,
    "CREATE INDEX bff_webhook_deliveries_list ON bff_webhook_deliveries (endpoint, id)",
    """
    CREATE INDEX bff_webhook_deliveries_due ON bff_webhook_deliveries (endpoint, due_at, id)
    WHERE state = 'pending'
    """,
    """
    CREATE TABLE bff_webhook_attempts (
        delivery BIGINT NOT NULL, number INTEGER NOT NULL, at BIGINT NOT NULL, took INTEGER NOT NULL,
        status INTEGER, error VARCHAR(32) NOT NULL, body VARCHAR(1024) NOT NULL, PRIMARY KEY (delivery, number)
    )
    """,
)


async def prepare(engine: AsyncEngine) -> None:
    """Make the tables, or bring them up to date."""
    words = WORDS[engine.dialect.name]
    await migrate(engine, ROOM, [step.format(**words) for step in STEPS])


def new_id(prefix: str) -> str:
    """An identifier that nobody guesses."""
    return f"{prefix}_{secrets.token_hex(16)}"
