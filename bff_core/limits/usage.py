"""How much each tenant has asked, by day: what is billed, and what partners see."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import structlog

from ..context import Principal
from ..stores import migrate, sql_engine, storable
from .calendar import calendar_window

__all__ = ["Usage", "UsageDay"]

log = structlog.get_logger("bff.usage")
SECOND = 1_000_000
TOO_MANY = 429
STEPS: Sequence[str] = (
    """
    CREATE TABLE bff_usage (
        tenant VARCHAR(255) NOT NULL, day VARCHAR(10) NOT NULL, writer VARCHAR(32) NOT NULL,
        requests BIGINT NOT NULL, refused BIGINT NOT NULL, PRIMARY KEY (tenant, day, writer)
    )""",
)
# What a process has counted, not what is new: to write it twice does no harm.
WRITE = (
    "INSERT INTO bff_usage (tenant, day, writer, requests, refused) "
    "VALUES (:tenant, :day, :writer, :requests, :refused) "
    "ON CONFLICT (tenant, day, writer) DO UPDATE SET requests = excluded.requests, refused = excluded.refused"
)
READ = (
    "SELECT day, sum(requests) AS requests, sum(refused) AS refused FROM bff_usage "
    "WHERE tenant = :tenant AND day >= :since AND day <= :until GROUP BY day ORDER BY day"
)


@dataclass(frozen=True, slots=True)
class UsageDay:
    """``requests`` were served, ``refused`` were too many (429)."""

    day: date
    requests: int
    refused: int


class Usage:
    """Counts the requests of each tenant (of each principal without one, as ``issuer|subject``) per calendar day of
    ``zone``, in the SQLite file or PostgreSQL at ``url``; to be given to ``create_bff(usage=...)``.

    Exact over all replicas: each process writes its own counts, every ``flush`` seconds and at its end, as often as
    need be while the database cannot be asked. One that is killed loses what it counted since the last time. ``clock``
    gives Unix time. Raises ``SettingsError``, and ``ImportError`` with the remedy.
    """

    def __init__(
        self, url: str, *, zone: str = "UTC", flush: float = 1.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = sql_engine(url)
        self._zone: tzinfo = UTC if zone == "UTC" else ZoneInfo(zone)
        self._every = flush
        self._clock = clock
        self._writer = secrets.token_hex(8)
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._changed: set[tuple[str, str]] = set()
        self._day, self._ends = "", 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._ready = False
        self._lock = asyncio.Lock()

    def count(self, principal: Principal, status: int) -> None:
        """One request, answered with ``status``."""
        now = self._clock()
        if now >= self._ends:
            self._turn(now)
        # Who belongs to no tenant may be called as one is.
        key = (principal.tenant or f"{principal.issuer or ''}|{principal.subject}", self._day)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0]
        counts[status == TOO_MANY] += 1
        self._changed.add(key)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._start_flush)

    async def days(self, tenant: str, days: int) -> list[UsageDay]:
        """The last ``days`` on which ``tenant`` asked anything, today's included; what other processes have counted
        since they wrote last is missing."""
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        await self.flush()
        today = datetime.fromtimestamp(self._clock(), self._zone).date()
        values = {"tenant": storable(tenant), "since": str(today - timedelta(days=days - 1)), "until": str(today)}
        async with self._engine.connect() as connection:
            rows = await connection.execute(text(READ), values)
            return [UsageDay(date.fromisoformat(row.day), int(row.requests), int(row.refused)) for row in rows]

    async def flush(self) -> None:
        """Write what has changed. Raises what SQLAlchemy raises; then it is written the next time."""
        from sqlalchemy import text  # noqa: PLC0415 - an extra

        async with self._lock:
            if not self._ready:
                await migrate(self._engine, "usage", STEPS)
                self._ready = True
            changed, self._changed = self._changed, set()
            rows = [
                {
                    "tenant": storable(tenant),
                    "day": day,
                    "writer": self._writer,
                    "requests": self._counts[tenant, day][0],
                    "refused": self._counts[tenant, day][1],
                }
                for tenant, day in sorted(changed)
            ]
            if not rows:
                return
            try:
                async with self._engine.begin() as connection:
                    await connection.execute(text(WRITE), rows)
            except BaseException:
                self._changed |= changed
                raise
            for key in [key for key in self._counts if key[1] < self._day and key not in self._changed]:
                del self._counts[key]

    async def aclose(self) -> None:
        """Write what is left, and close."""
        self._disarm()
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self._try()
        self._disarm()
        await self._engine.dispose()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _turn(self, now: float) -> None:
        """Another day has begun."""
        self._day = str(datetime.fromtimestamp(now, self._zone).date())
        self._ends = calendar_window(round(now * SECOND), "day", self._zone)[1] / SECOND

    def _start_flush(self) -> None:
        self._timer = None
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._try())

    async def _try(self) -> None:
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            log.warning("usage.not_written", error=type(error).__name__, tenants=len(self._changed))
        # Also what was counted while this was being written: a timer that ran out meanwhile has left it to this.
        if self._timer is None and self._changed:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._start_flush)
