"""What dispatchers take from the database and write back: one transaction a turn."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from sqlalchemy import BindParameter, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .connector import Outcome
from .endpoints import DROP_WAITING, secrets_of
from .events import DISABLED, FAILING, EndpointTrouble, Reason
from .outbox import Outbox
from .retry import Verdict

__all__ = ["Due", "Lane", "Queue", "Release", "Result"]

log = structlog.get_logger("bff.webhooks")

BODY_CHARACTERS = 1024
PURGE_ROWS = 1000

CLAIM = (
    "WITH picked AS MATERIALIZED (SELECT e.id FROM bff_webhook_endpoints e WHERE e.status = 'enabled' "
    "AND e.leased_until <= :now AND e.paused_until <= :now AND e.failing_since IS {failing} NULL "
    "AND EXISTS (SELECT 1 FROM bff_webhook_deliveries d "
    "WHERE d.endpoint = e.id AND d.state = 'pending' AND d.due_at <= :now) "
    "ORDER BY e.served_at LIMIT :room {skip}) "
    "UPDATE bff_webhook_endpoints SET lease = :lease, leased_until = :until, served_at = :now "
    "WHERE id IN (SELECT id FROM picked) "
    "RETURNING id, owner, url, version, ordered, rate, failing_since, warned"
)
DUE = text(
    "SELECT d.id, d.event, d.attempts, d.step, v.type, v.created_at, v.data FROM bff_webhook_deliveries d "
    "JOIN bff_webhook_events v ON v.id = d.event "
    "WHERE d.endpoint = :endpoint AND d.state = 'pending' AND d.due_at <= :now ORDER BY d.due_at, d.id LIMIT :most"
)
# An endpoint is locked before its deliveries, here as where it is changed or removed: nobody waits in a circle. SQLite
# has one writer.
HOLD: BindParameter[list[str]] = bindparam("ids", expanding=True)
HOLD_LANES = text("SELECT id FROM bff_webhook_endpoints WHERE id IN :ids ORDER BY id FOR UPDATE").bindparams(HOLD)
SETTLE = text(
    "UPDATE bff_webhook_deliveries SET state = :state, reason = :reason, attempts = attempts + 1, step = step + 1, "
    "due_at = :due WHERE id = :id AND attempts = :attempts AND state = 'pending'"
)
LOG = text(
    "INSERT INTO bff_webhook_attempts (delivery, number, at, took, status, error, body) "
    "SELECT id, attempts, CAST(:at AS BIGINT), CAST(:took AS INTEGER), CAST(:status AS INTEGER), "
    "CAST(:error AS VARCHAR), CAST(:body AS VARCHAR) FROM bff_webhook_deliveries "
    "WHERE id = :id AND attempts = :number ON CONFLICT (delivery, number) DO NOTHING"
)
RELEASE = text(
    "UPDATE bff_webhook_endpoints SET lease = NULL, leased_until = 0, paused_until = :paused, "
    "failing_since = :failing, warned = :warned WHERE id = :id AND lease = :lease"
)
DISABLE = text(
    "UPDATE bff_webhook_endpoints SET status = 'disabled', reason = :reason "
    "WHERE id = :id AND status = 'enabled' AND url = :url"
)
# What was published while its endpoint was being disabled: PostgreSQL lets either of the two not see the other.
STRAYS = text(
    "UPDATE bff_webhook_deliveries SET state = 'dead', reason = 'disabled' WHERE state = 'pending' "
    "AND endpoint IN (SELECT id FROM bff_webhook_endpoints WHERE status = 'disabled')"
)
# In the same way a delivery may be left of an endpoint that was removed: it waits for nobody.
NOBODY_WAITS = (
    "NOT EXISTS (SELECT 1 FROM bff_webhook_deliveries d JOIN bff_webhook_endpoints e ON e.id = d.endpoint "
    "WHERE d.event = bff_webhook_events.id AND d.state = 'pending')"
)
OLD = (
    f"SELECT id FROM bff_webhook_events WHERE created_at < :before AND {NOBODY_WAITS} "  # noqa: S608 - a constant
    "ORDER BY created_at LIMIT :most {skip}"
)
OLD_ONES: BindParameter[list[str]] = bindparam("ids", expanding=True)
# Nobody replays or removes meanwhile what is removed here; who did so before that is heeded.
HOLD_OWNERS = text(
    "SELECT id FROM bff_webhook_endpoints WHERE owner IN (SELECT owner FROM bff_webhook_events WHERE id IN :ids) "
    "ORDER BY id FOR UPDATE"
).bindparams(OLD_ONES)
PURGE_EVENTS = text(
    f"DELETE FROM bff_webhook_events WHERE id IN :ids AND {NOBODY_WAITS} RETURNING id"  # noqa: S608 - a constant
).bindparams(OLD_ONES)
PURGE = (
    text(
        "DELETE FROM bff_webhook_attempts WHERE delivery IN (SELECT id FROM bff_webhook_deliveries WHERE event IN :ids)"
    ).bindparams(OLD_ONES),
    text("DELETE FROM bff_webhook_deliveries WHERE event IN :ids").bindparams(OLD_ONES),
)


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery to be tried now, and its event. ``attempts`` there were in all, ``step`` since the last replay."""

    id: int
    event: str
    attempts: int
    step: int
    type: str
    created_at: int
    data: str


@dataclass(slots=True)
class Lane:
    """An endpoint that this dispatcher delivers to, alone, until its lease ends."""

    endpoint: str
    owner: str
    url: str
    version: str | None
    ordered: bool
    rate: float | None
    failing_since: int | None
    warned: bool
    lease: str
    sealed: list[tuple[bytes, str]] = field(default_factory=list)
    work: list[Due] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended, which began ``at`` (milliseconds of Unix time)."""

    lane: Lane
    due: Due
    outcome: Outcome
    verdict: Verdict
    at: int


@dataclass(frozen=True, slots=True)
class Release:
    """A lane that is given back, to be left alone until ``paused``. ``gone``: it wants nothing any more."""

    lane: Lane
    paused: int = 0
    gone: bool = False


class Queue:
    """The deliveries in ``engine``. A lease lasts ``lease`` seconds; a lane is given ``batch`` deliveries, one that is
    failing ``failing_batch``. ``warn_after`` and ``disable_after`` are seconds of failure."""

    def __init__(
        self,
        engine: AsyncEngine,
        outbox: Outbox,
        *,
        lease: float,
        batch: int,
        failing_batch: int,
        warn_after: float,
        disable_after: float,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._outbox = outbox
        self._lease = int(lease * 1000)
        self._batch = batch
        self._failing_batch = failing_batch
        self._warn_after = warn_after * 1000
        self._disable_after = disable_after * 1000
        self._clock = clock
        self._postgresql = engine.dialect.name == "postgresql"
        skip = "FOR UPDATE SKIP LOCKED" if self._postgresql else ""
        self._old = text(OLD.format(skip=skip))  # two who purge do not meet
        self._claims = [text(CLAIM.format(failing=failing, skip=skip)) for failing in ("", "NOT")]

    async def turn(
        self, results: Sequence[Result], releases: Sequence[Release], *, healthy: int, failing: int
    ) -> list[Lane]:
        """Write down what was done, give back lanes, and take so many that have something to do. All or nothing; doing
        it twice does no harm: what another dispatcher has meanwhile written stays."""
        now = int(self._clock() * 1000)
        touched: set[str] = set()
        if self._postgresql:
            touched = {result.lane.endpoint for result in results} | {release.lane.endpoint for release in releases}
        async with self._engine.begin() as connection:
            if touched:
                await connection.execute(HOLD_LANES, {"ids": sorted(touched)})
            if results:
                await connection.execute(SETTLE, [_settled(result) for result in results])
                await connection.execute(LOG, [_logged(result) for result in results])
            for release in releases:
                await self._give_back(connection, release, now)
            lanes = []
            for claim, room in zip(self._claims, (healthy, failing), strict=True):
                if room > 0:
                    lanes += await self._claim(connection, claim, room, now)
            if lanes:
                await self._load(connection, lanes, now)
        return lanes

    async def drop_strays(self) -> int:
        """End what waits for endpoints that are disabled: how many."""
        async with self._engine.begin() as connection:
            return int((await connection.execute(STRAYS)).rowcount)

    async def purge(self, before: float) -> int:
        """Remove events from before that instant (Unix time) that nobody waits for: how many, some at a time."""
        async with self._engine.begin() as connection:
            rows = await connection.execute(self._old, {"before": int(before * 1000), "most": PURGE_ROWS})
            ids = [row.id for row in rows]
            if ids and self._postgresql:
                await connection.execute(HOLD_OWNERS, {"ids": ids})
            if ids:
                ids = [row.id for row in await connection.execute(PURGE_EVENTS, {"ids": ids})]
            for step in PURGE if ids else ():
                await connection.execute(step, {"ids": ids})
        return len(ids)

    async def _claim(self, connection: AsyncConnection, claim: TextClause, room: int, now: int) -> list[Lane]:
        lease = secrets.token_hex(16)
        rows = await connection.execute(claim, {"now": now, "room": room, "lease": lease, "until": now + self._lease})
        return [
            Lane(
                row.id, row.owner, row.url, row.version, bool(row.ordered), row.rate, row.failing_since,
                bool(row.warned), lease,
            )
            for row in rows
        ]  # fmt: skip

    async def _load(self, connection: AsyncConnection, lanes: Sequence[Lane], now: int) -> None:
        sealed = await secrets_of(connection, [lane.endpoint for lane in lanes], now)
        for lane in lanes:
            lane.sealed = sealed.get(lane.endpoint, [])
            most = self._batch if lane.failing_since is None else self._failing_batch
            rows = await connection.execute(DUE, {"endpoint": lane.endpoint, "now": now, "most": most})
            lane.work = [Due(*row) for row in rows]

    async def _give_back(self, connection: AsyncConnection, release: Release, now: int) -> None:
        lane = release.lane
        failing_for = 0 if lane.failing_since is None else now - lane.failing_since
        warn = failing_for >= self._warn_after and not lane.warned
        values = {
            "id": lane.endpoint, "lease": lane.lease, "paused": release.paused, "failing": lane.failing_since,
            "warned": (lane.warned or warn) and lane.failing_since is not None,
        }  # fmt: skip
        given = await connection.execute(RELEASE, values)
        if not given.rowcount:
            return  # the lease was over: whoever has the lane now decides
        if release.gone or failing_for >= self._disable_after:
            await self._disable(connection, lane, "gone" if release.gone else "failing")
        elif warn:
            await self._notify(connection, FAILING.name, lane, "failing")

    async def _disable(self, connection: AsyncConnection, lane: Lane, reason: Reason) -> None:
        values = {"id": lane.endpoint, "reason": reason, "url": lane.url}
        if (await connection.execute(DISABLE, values)).rowcount:
            await connection.execute(DROP_WAITING, {"id": lane.endpoint, "reason": "disabled"})
            await self._notify(connection, DISABLED.name, lane, reason)

    async def _notify(self, connection: AsyncConnection, kind: str, lane: Lane, reason: Reason) -> None:
        """Told to the owner's other endpoints, by a webhook, and in the log."""
        since = None if lane.failing_since is None else datetime.fromtimestamp(lane.failing_since / 1000, UTC)
        trouble = EndpointTrouble(endpoint=lane.endpoint, url=lane.url, failing_since=since, reason=reason)
        log.warning(kind, endpoint=lane.endpoint, owner=lane.owner, reason=reason)
        await self._outbox.publish(kind, trouble, lane.owner, connection=connection)


def _settled(result: Result) -> dict[str, object]:
    verdict, due = result.verdict, result.due
    return {
        "id": due.id,
        "attempts": due.attempts,
        "state": verdict.state,
        "reason": "exhausted" if verdict.state == "dead" and not verdict.gone else "gone" if verdict.gone else None,
        "due": 0 if result.lane.ordered else result.at + int((result.outcome.took + verdict.wait) * 1000),
    }


def _logged(result: Result) -> dict[str, object]:
    outcome = result.outcome
    body = outcome.body.decode(errors="replace").replace("\0", "\ufffd")[:BODY_CHARACTERS]
    return {
        "id": result.due.id,
        "number": result.due.attempts + 1,
        "at": result.at,
        "took": int(outcome.took * 1000),
        "status": outcome.status,
        "error": outcome.error,
        "body": body,
    }
