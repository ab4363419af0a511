"""The gateway's own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bff_core import migrate

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["prepare"]

STEPS = ("CREATE TABLE partner_feeds (name VARCHAR(40) PRIMARY KEY, cursor VARCHAR(256))",)


async def prepare(engine: AsyncEngine) -> None:
    """Bring them up to date."""
    await migrate(engine, "partner", STEPS)
