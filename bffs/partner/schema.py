"""The gateway's own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bff_core import migrate

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["prepare"]

STEPS = (
    "CREATE TABLE partner_feeds (name VARCHAR(40) PRIMARY KEY, cursor VARCHAR(256))",
    """
    CREATE TABLE partner_exports (
        id VARCHAR(40) PRIMARY KEY, tenant VARCHAR(255) NOT NULL, version VARCHAR(40) NOT NULL,
        state VARCHAR(16) NOT NULL, created_at DOUBLE PRECISION NOT NULL, ended_at DOUBLE PRECISION,
        cursor VARCHAR(256), rows BIGINT NOT NULL, parts INTEGER NOT NULL DEFAULT 0,
        leased_until DOUBLE PRECISION NOT NULL
    )""",
    "CREATE INDEX partner_exports_state ON partner_exports (state, created_at)",
    """
    CREATE TABLE partner_export_parts (
        export VARCHAR(40) NOT NULL, number INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (export, number)
    )""",
)


async def prepare(engine: AsyncEngine) -> None:
    """Bring them up to date."""
    await migrate(engine, "partner", STEPS)
