"""The outbox: an event and its deliveries, written in the transaction of what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .events import EventTypes
from .schema import new_id

__all__ = ["Outbox"]

EVENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

ADD_EVENT = text(
    "INSERT INTO bff_webhook_events (id, owner, type, created_at, data, only_for) "
    "VALUES (:id, :owner, :type, :now, :data, :only_for) ON CONFLICT (id) DO NOTHING"
)
# What is due in an ordered lane is due at once: its order is that of the rows, its waiting the lane's.
FAN_OUT = text(
    "INSERT INTO bff_webhook_deliveries (endpoint, event, state, attempts, step, due_at, created_at) "
    "SELECT e.id, v.id, 'pending', 0, 0, CASE WHEN e.ordered THEN 0 ELSE v.created_at END, v.created_at "
    "FROM bff_webhook_events v JOIN bff_webhook_endpoints e ON e.owner = v.owner "
    "WHERE v.id = :id AND e.status = 'enabled' AND (v.only_for IS NULL OR v.only_for = e.id) "
    "AND (v.only_for = e.id OR EXISTS (SELECT 1 FROM bff_webhook_types t "
    "WHERE t.endpoint = e.id AND t.type IN (v.type, '*')))"
)
# Before its deliveries, as elsewhere: nobody waits in a circle. SQLite has one writer.
HOLD = text("SELECT id FROM bff_webhook_endpoints WHERE id = :endpoint FOR UPDATE")
ENABLED = "EXISTS (SELECT 1 FROM bff_webhook_endpoints e WHERE e.id = :endpoint AND e.status = 'enabled')"
AGAIN = "state = 'pending', reason = NULL, step = 0, due_at = CASE WHEN :ordered THEN 0 ELSE CAST(:now AS BIGINT) END"
REPLAY_ONE = text(
    f"UPDATE bff_webhook_deliveries SET {AGAIN} "  # noqa: S608 - a constant
    f"WHERE endpoint = :endpoint AND event = :event AND state <> 'pending' AND {ENABLED}"
)
REPLAY_DEAD = text(
    f"UPDATE bff_webhook_deliveries SET {AGAIN} "  # noqa: S608 - a constant
    "WHERE endpoint = :endpoint AND state = 'dead' AND created_at >= :since AND created_at < :until "
    f"AND {ENABLED}"
)
REPLAY_ALL = text(
    "INSERT INTO bff_webhook_deliveries (endpoint, event, state, attempts, step, due_at, created_at) "
    "SELECT e.id, v.id, 'pending', 0, 0, CASE WHEN e.ordered THEN 0 ELSE CAST(:now AS BIGINT) END, v.created_at "
    "FROM bff_webhook_events v JOIN bff_webhook_endpoints e ON e.owner = v.owner "
    "WHERE e.id = :endpoint AND e.status = 'enabled' AND v.created_at >= :since AND v.created_at < :until "
    "AND (v.only_for = e.id OR v.only_for IS NULL AND EXISTS (SELECT 1 FROM bff_webhook_types t "
    "WHERE t.endpoint = e.id AND t.type IN (v.type, '*'))) ORDER BY v.created_at, v.id "
    "ON CONFLICT (event, endpoint) DO UPDATE SET state = 'pending', reason = NULL, step = 0, due_at = excluded.due_at "
    "WHERE bff_webhook_deliveries.state <> 'pending'"
)


class Outbox:
    """Writes events of ``types``, at most ``max_event`` bytes of data each, to ``engine``. ``clock`` is Unix time in
    seconds; ``wake`` is called when something is due."""

    def __init__(
        self,
        engine: AsyncEngine,
        types: EventTypes,
        *,
        max_event: int,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._types = types
        self._max_event = max_event
        self._clock = clock
        self._wake = wake

    async def publish(
        self,
        kind: str,
        data: BaseModel,
        owner: str,
        *,
        connection: AsyncConnection | None = None,
        event_id: str | None = None,
        only_for: str | None = None,
    ) -> str:
        """See ``Webhooks.publish``; ``only_for`` is one endpoint, whatever types it wants."""
        known = self._types.known.get(kind)
        if known is None or not isinstance(data, known.model):
            raise ValueError(f"there is no event type '{kind}' with data of type {type(data).__name__}")
        written = data.model_dump_json()
        if len(written.encode()) > self._max_event:
            raise ValueError(f"the data of a '{kind}' is larger than {self._max_event} bytes")
        if event_id is None:
            event_id = new_id("msg")
        elif EVENT_ID.fullmatch(event_id) is None:
            raise ValueError("the id of an event is 1 to 64 letters, digits, '_' and '-'")
        event = {"id": event_id, "owner": owner, "type": kind, "data": written, "only_for": only_for}
        async with self._within(connection) as inside:
            added = await inside.execute(ADD_EVENT, {**event, "now": int(self._clock() * 1000)})
            if added.rowcount:
                await inside.execute(FAN_OUT, {"id": event_id})
        if connection is None:
            self._wake()
        return event_id

    async def replay_one(self, endpoint: str, event: str, *, ordered: bool) -> bool:
        """Send a delivery that has ended once more; False when there is none, or the endpoint is not enabled."""
        return bool(await self._again(REPLAY_ONE, {"endpoint": endpoint, "event": event, "ordered": ordered}))

    async def replay_range(self, endpoint: str, since: float, until: float, *, ordered: bool, failed_only: bool) -> int:
        """Send what failed, or all there was, between two instants (Unix time) once more: how many. What the endpoint
        missed while it was disabled counts as all, not as failed. None to one that is not enabled."""
        between = {"endpoint": endpoint, "since": int(since * 1000), "until": int(until * 1000)}
        if failed_only:
            return await self._again(REPLAY_DEAD, {**between, "ordered": ordered})
        return await self._again(REPLAY_ALL, between)

    async def _again(self, statement: object, values: dict[str, object]) -> int:
        async with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                await connection.execute(HOLD, {"endpoint": values["endpoint"]})
            done = await connection.execute(statement, {**values, "now": int(self._clock() * 1000)})  # type: ignore[call-overload]
        self._wake()
        return int(done.rowcount)

    def _within(self, connection: AsyncConnection | None) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._engine.begin() if connection is None else nullcontext(connection)
