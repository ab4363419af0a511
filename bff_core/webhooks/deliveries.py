"""What became of events: the log that an endpoint's owner can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Attempt", "Delivery", "Log", "State"]

State = Literal["pending", "delivered", "dead"]

COLUMNS = (
    "d.event, v.type, d.state, d.reason, d.attempts, v.created_at, d.due_at, d.id FROM bff_webhook_deliveries d "
    "JOIN bff_webhook_events v ON v.id = d.event JOIN bff_webhook_endpoints e ON e.id = d.endpoint "
    "WHERE e.owner = :owner AND d.endpoint = :endpoint "
)
FIND = text(f"SELECT {COLUMNS} AND d.event = :event")
PAGE = "SELECT " + COLUMNS + "{state} {after} ORDER BY d.id DESC LIMIT :most"
STATE = "AND d.state = :state"
AFTER = "AND d.id < (SELECT id FROM bff_webhook_deliveries WHERE endpoint = :endpoint AND event = :cursor)"
ATTEMPTS = text(
    "SELECT number, at, took, status, error, body FROM bff_webhook_attempts WHERE delivery = :id ORDER BY number"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to an endpoint. Instants are milliseconds of Unix time; ``due_at`` is 0 where order
    decides."""

    event: str
    type: str
    state: State
    reason: str | None
    attempts: int
    created_at: int
    due_at: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """``at`` and ``took`` in milliseconds; ``body`` is how the answer began."""

    number: int
    at: int
    took: int
    status: int | None
    error: str
    body: str


class Log:
    """The deliveries in ``engine``, each endpoint's for its owner alone."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(
        self, owner: str, endpoint: str, *, state: State | None, cursor: str | None, most: int
    ) -> Sequence[Delivery]:
        """The newest first, after the event ``cursor``. None after one that is not there."""
        statement = text(PAGE.format(state=STATE if state else "", after=AFTER if cursor else ""))
        values = {"owner": owner, "endpoint": endpoint, "most": most}
        values |= {"state": state} if state else {}
        values |= {"cursor": cursor} if cursor else {}
        async with self._engine.connect() as connection:
            return [Delivery(*row[:-1]) for row in await connection.execute(statement, values)]

    async def find(self, owner: str, endpoint: str, event: str) -> tuple[Delivery, Sequence[Attempt]] | None:
        """One, with its attempts."""
        async with self._engine.connect() as connection:
            values = {"owner": owner, "endpoint": endpoint, "event": event}
            row = (await connection.execute(FIND, values)).first()
            if row is None:
                return None
            attempts = [Attempt(*entry) for entry in await connection.execute(ATTEMPTS, {"id": row.id})]
        return Delivery(*row[:-1]), attempts
