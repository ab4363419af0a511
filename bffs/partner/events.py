"""What partners are told of: the types of events, and how the shop's become webhooks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from bff_core import EventType, ServiceError, Webhooks, background_context
from shop.clients import Orders
from shop.models import Money, OrderEvent

from .shapes import PartnerLine, PartnerOrder, partner_order

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["EVENTS", "OrderFeed"]

log = structlog.get_logger("bff.partner")
ORDER = PartnerOrder(
    id="o17",
    status="paid",
    total=Money(amount=3998, currency="EUR"),
    lines=[PartnerLine(product_id="p1", title="Lamp", quantity=2, unit_price=Money(amount=1999, currency="EUR"))],
    created_at=datetime(2026, 11, 1, tzinfo=UTC),
    updated_at=datetime(2026, 11, 1, tzinfo=UTC),
)
EVENTS = (
    EventType("order.created", PartnerOrder, "One of your orders was placed.", ORDER),
    EventType("order.updated", PartnerOrder, "One of your orders has changed.", ORDER),
)
MOST = 100
LONGEST_PAUSE = 30.0
BAD_DATA = ("22", "23", "54")  # classes of SQLSTATE: data exception, integrity constraint, program limit
READ = "SELECT cursor FROM partner_feeds WHERE name = 'orders'"
FIRST = "INSERT INTO partner_feeds (name, cursor) VALUES ('orders', NULL) ON CONFLICT (name) DO NOTHING"
# Of several replicas that have read the same, one goes on.
MOVE = (
    "UPDATE partner_feeds SET cursor = :next WHERE name = 'orders' "
    "AND (cursor = :cursor OR cursor IS NULL AND CAST(:cursor AS VARCHAR(256)) IS NULL)"
)


class OrderFeed:
    """Reads the outbox of the orders service, and publishes what it finds together with how far it has read, in one
    transaction: whatever is killed, each event becomes one webhook event, with the id that it has there. Then it may
    be emptied so far: the outbox is this gateway's."""

    def __init__(self, webhooks: Webhooks, orders: Orders, *, every: float) -> None:
        self._webhooks = webhooks
        self._orders = orders
        self._every = every

    async def run(self) -> None:
        """Until it is cancelled. What fails is tried again, more and more slowly."""
        pause = self._every
        while True:
            try:
                found = await self.step()
            except Exception as error:  # noqa: BLE001 - the service or the database is away
                pause = min(pause * 2, LONGEST_PAUSE)
                log.warning("feed.failed", error=f"{type(error).__name__}: {error}", again_in=pause)
            else:
                pause = 0.0 if found == MOST else self._every
            await asyncio.sleep(pause)
            pause = pause or self._every

    async def step(self) -> int:
        """One round: how many events there were."""
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        async with self._webhooks.engine.connect() as connection:
            cursor = (await connection.execute(text(READ))).scalar_one_or_none()
        with background_context(5.0):
            found = await self._orders.events(cursor, MOST)
        if not found.items:
            return 0
        async with self._webhooks.engine.begin() as connection:
            await connection.execute(text(FIRST))
            moved = await connection.execute(text(MOVE), {"next": found.next, "cursor": cursor})
            if moved.rowcount:
                for event in found.items:
                    await self._publish(event, connection)
        self._webhooks.wake()
        if moved.rowcount:
            await self._empty(found.next)
        return len(found.items)

    async def _empty(self, until: str) -> None:
        try:
            with background_context(5.0):
                await self._orders.taken(until)
        except ServiceError as error:  # the next time it is emptied that far, and further
            log.warning("feed.not_emptied", error=str(error))

    async def _publish(self, event: OrderEvent, connection: AsyncConnection) -> None:
        from sqlalchemy import exc  # noqa: PLC0415 - with the engine

        to = event.order.partner_id
        if to is None:
            return
        try:
            order = partner_order(event.order)
        except (ArithmeticError, ValueError) as error:
            # It is the data's fault, and so it is the next time, too. What is our own is mended before it goes on.
            _leave_out(event, error)
            return
        try:
            async with connection.begin_nested():
                await self._webhooks.publish(event.type, order, to=to, event_id=event.id, connection=connection)
        except (ValueError, exc.DBAPIError) as error:
            # What is too large, of no type of ours, or nothing that the database can hold is so the next time, too.
            if isinstance(error, exc.DBAPIError) and not _is_of_the_data(error):
                raise
            _leave_out(event, error)


def _leave_out(event: OrderEvent, error: Exception) -> None:
    log.error("feed.left_out", event_id=event.id, error=f"{type(error).__name__}: {error}")


def _is_of_the_data(error: DBAPIError) -> bool:
    return (getattr(error.orig, "sqlstate", None) or "").startswith(BAD_DATA)
