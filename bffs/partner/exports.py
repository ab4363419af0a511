"""Exports: what takes longer than a request, in the database, page by page, so that a restart goes on where it was."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from bff_core import background_context
from shop.clients import Orders

from .shapes import PartnerOrder, partner_order
from .versions import VERSIONS

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Export", "ExportStore", "ExportWorker"]

log = structlog.get_logger("bff.partner")
PAGE = 100
LEASE = 30.0
KEPT = 7 * 86_400.0
TRIED = 86_400.0
SWEEP_EVERY = 3600.0
MOST = 5
ADD = (
    "INSERT INTO partner_exports (id, tenant, version, state, created_at, rows, leased_until) "
    "SELECT CAST(:id AS VARCHAR(40)), CAST(:tenant AS VARCHAR(255)), CAST(:version AS VARCHAR(40)), 'pending', "
    "CAST(:now AS DOUBLE PRECISION), 0, 0 "
    "WHERE (SELECT count(*) FROM partner_exports WHERE tenant = :tenant AND state = 'pending') < :most"
)
# On PostgreSQL two that count at the same time would not see each other's.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended(:tenant, 0))"
FIND = "SELECT * FROM partner_exports WHERE id = :id AND tenant = :tenant"
PARTS = "SELECT lines FROM partner_export_parts WHERE export = :id AND number = :number"
CLAIM = (
    "UPDATE partner_exports SET leased_until = :until WHERE state = 'pending' AND leased_until < :now AND id = ("
    "SELECT id FROM partner_exports WHERE state = 'pending' AND leased_until < :now ORDER BY created_at LIMIT 1) "
    "RETURNING *"
)
# Whoever has the same cursor and comes second has written nothing.
STEP = (
    "UPDATE partner_exports SET cursor = :next, rows = rows + :count, parts = parts + 1, leased_until = :until, "
    "state = :state, ended_at = :ended WHERE id = :id AND parts = :number AND state = 'pending'"
)
PART = "INSERT INTO partner_export_parts (export, number, lines) VALUES (:id, :number, :lines)"
# Neither what nobody has tried for as long, when the gateway itself was away, nor what somebody is at.
GIVE_UP = (
    "UPDATE partner_exports SET state = 'failed', ended_at = :now "
    "WHERE state = 'pending' AND created_at < :tried AND leased_until > :tried AND leased_until < :now"
)
OLD_PARTS = (
    "DELETE FROM partner_export_parts WHERE export IN (SELECT id FROM partner_exports WHERE created_at < :before)"
)
OLD = "DELETE FROM partner_exports WHERE created_at < :before"


@dataclass(frozen=True, slots=True)
class Export:
    """One, in the version of the API it was asked for in. Instants are Unix time."""

    id: str
    tenant: str
    version: str
    state: Literal["pending", "done", "failed"]
    created_at: float
    ended_at: float | None
    cursor: str | None
    rows: int
    parts: int

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Export:
        """From its row."""
        return cls(**{name: row[name] for name in cls.__slots__})


class ExportStore:
    """Where they are. Methods raise what SQLAlchemy raises."""

    def __init__(self, engine: AsyncEngine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock
        self.added = asyncio.Event()

    async def add(self, tenant: str, version: str) -> Export | None:
        """A new one, None when ``tenant`` has five under way."""
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        values = {"id": f"exp_{secrets.token_hex(12)}", "tenant": tenant, "version": version}
        async with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(ONE_AT_A_TIME), {"tenant": f"export:{tenant}"})
            added = {**values, "now": self._clock(), "most": MOST}
            done = (await connection.execute(text(ADD), added)).rowcount
        self.added.set()
        return await self.find(tenant, values["id"]) if done else None

    async def find(self, tenant: str, export_id: str) -> Export | None:
        """One of ``tenant``'s."""
        found = await self._read(FIND, {"id": export_id, "tenant": tenant})
        return None if found is None else Export.of(found)

    async def lines(self, export: Export) -> AsyncIterator[bytes]:
        """What it has, as NDJSON, part by part. Raises ``LookupError`` when it is swept meanwhile: whoever reads must
        not take what they have for the whole."""
        for number in range(export.parts):
            found = await self._read(PARTS, {"id": export.id, "number": number})
            if found is None:
                raise LookupError(f"part {number} of export {export.id} is gone")
            yield found["lines"].encode()

    async def claim(self) -> Export | None:
        """One that nobody is at, for half a minute."""
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        now = self._clock()
        async with self._engine.begin() as connection:
            found = (await connection.execute(text(CLAIM), {"now": now, "until": now + LEASE})).mappings().first()
        return None if found is None else Export.of(found)

    async def step(self, export: Export, lines: list[str], following: str | None) -> bool:
        """Another page of it, the last one when nothing follows; False when somebody else was faster."""
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        now = self._clock()
        values = {"id": export.id, "number": export.parts, "next": following, "count": len(lines)}
        ends = {"state": "pending", "ended": None} if following is not None else {"state": "done", "ended": now}
        async with self._engine.begin() as connection:
            if not (await connection.execute(text(STEP), {**values, **ends, "until": now + LEASE})).rowcount:
                return False
            part = {"id": export.id, "number": export.parts, "lines": "".join(f"{line}\n" for line in lines)}
            await connection.execute(text(PART), part)
        return True

    async def sweep(self) -> None:
        """What is a day old and was tried within a day has failed; what is older than a week goes."""
        now = self._clock()
        await self._write(GIVE_UP, {"now": now, "tried": now - TRIED})
        before = {"before": now - KEPT}
        await self._write(OLD_PARTS, before)
        await self._write(OLD, before)

    async def _read(self, statement: str, values: dict[str, Any]) -> Mapping[Any, Any] | None:
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        async with self._engine.connect() as connection:
            return (await connection.execute(text(statement), values)).mappings().first()

    async def _write(self, statement: str, values: dict[str, Any]) -> int:
        from sqlalchemy import text  # noqa: PLC0415 - with the engine

        async with self._engine.begin() as connection:
            return (await connection.execute(text(statement), values)).rowcount


class ExportWorker:
    """Makes them, one after the other, from the pages of the orders service. Any number, in any number of processes."""

    def __init__(self, store: ExportStore, orders: Orders, *, every: float = 2.0) -> None:
        self._store = store
        self._orders = orders
        self._every = every

    async def run(self) -> None:
        """Until it is cancelled. What fails is taken up again when its lease is over."""
        sweep_at = 0.0
        while True:
            if time.monotonic() >= sweep_at and await self._sweep():
                sweep_at = time.monotonic() + SWEEP_EVERY
            try:
                while (export := await self._store.claim()) is not None:
                    await self.make(export)
            except Exception as error:  # noqa: BLE001 - the service or the database is away
                log.warning("export.failed", error=f"{type(error).__name__}: {error}")
            try:
                async with asyncio.timeout(self._every):
                    await self._store.added.wait()
                self._store.added.clear()
            except TimeoutError:
                continue

    async def _sweep(self) -> bool:
        # By itself: neither what cannot be made, nor what cannot be swept, is in the other's way.
        try:
            await self._store.sweep()
        except Exception as error:  # noqa: BLE001 - the database is away
            log.warning("export.not_swept", error=f"{type(error).__name__}: {error}")
            return False
        return True

    async def make(self, export: Export) -> None:
        """All that is left of one."""
        down = VERSIONS.at(PartnerOrder, export.version).down
        while export.state == "pending":
            with background_context(10.0):
                page = await self._orders.of_partner(export.tenant, export.cursor, PAGE)
            documents = [partner_order(order).model_dump(mode="json") for order in page.items]
            lines = [json.dumps(down(each) if down else each, ensure_ascii=False) for each in documents]
            if not await self._store.step(export, lines, page.next):
                return
            found = await self._store.find(export.tenant, export.id)
            if found is None:
                return
            export = found
