"""Endpoints and their secrets, each seen by its owner alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .schema import new_id
from .sealing import Sealer
from .signing import new_private_key, new_secret, public_key

__all__ = ["Endpoint", "Endpoints", "Kind", "secrets_of"]

Kind = Literal["v1", "v1a"]
MOST_SECRETS = 3
PING_EVERY = 5000  # milliseconds

COLUMNS = "id, owner, url, description, version, ordered, rate, status, reason, created_at, failing_since"
ADD = text(
    "INSERT INTO bff_webhook_endpoints (id, owner, url, description, version, ordered, rate, status, created_at, "
    "pinged_at, leased_until, served_at, paused_until, warned) VALUES (:id, :owner, :url, :description, :version, "
    ":ordered, :rate, 'unverified', :now, 0, 0, 0, 0, false)"
)
COUNT = text("SELECT count(*) FROM bff_webhook_endpoints WHERE owner = :owner")
FIND = text(f"SELECT {COLUMNS} FROM bff_webhook_endpoints WHERE owner = :owner AND id = :id")  # noqa: S608 - a constant
LIST = text(f"SELECT {COLUMNS} FROM bff_webhook_endpoints WHERE owner = :owner ORDER BY created_at, id")  # noqa: S608
TYPES = text("SELECT endpoint, type FROM bff_webhook_types WHERE endpoint IN :ids ORDER BY type").bindparams(
    bindparam("ids", expanding=True)
)
ADD_TYPE = text("INSERT INTO bff_webhook_types (endpoint, type) VALUES (:id, :type)")
NO_TYPES = text("DELETE FROM bff_webhook_types WHERE endpoint = :id")
# Whoever changes an endpoint has it alone from here on, so that what it reads is what it changes.
HOLD = text("UPDATE bff_webhook_endpoints SET id = id WHERE owner = :owner AND id = :id")
CHANGE = text(
    "UPDATE bff_webhook_endpoints SET url = :url, description = :description, version = :version, rate = :rate, "
    "status = :status, reason = :reason WHERE owner = :owner AND id = :id"
)
DROP_WAITING = text(
    "UPDATE bff_webhook_deliveries SET state = 'dead', reason = :reason WHERE endpoint = :id AND state = 'pending'"
)
REMOVE = (
    text(
        "DELETE FROM bff_webhook_attempts WHERE delivery IN "
        "(SELECT id FROM bff_webhook_deliveries WHERE endpoint = :id)"
    ),
    text("DELETE FROM bff_webhook_deliveries WHERE endpoint = :id"),
    text("DELETE FROM bff_webhook_secrets WHERE endpoint = :id"),
    NO_TYPES,
)
REMOVE_ENDPOINT = text("DELETE FROM bff_webhook_endpoints WHERE owner = :owner AND id = :id")
MAY_PING = text(
    "UPDATE bff_webhook_endpoints SET pinged_at = :now WHERE owner = :owner AND id = :id AND pinged_at <= :before"
)
ENABLE = text(
    "UPDATE bff_webhook_endpoints SET status = 'enabled', reason = NULL, failing_since = NULL, warned = false, "
    "paused_until = 0, lease = NULL, leased_until = 0 "
    "WHERE owner = :owner AND id = :id AND url = :url AND status <> 'enabled'"
)
ADD_SECRET = text(
    "INSERT INTO bff_webhook_secrets (id, endpoint, kind, sealed, created_at) "
    "VALUES (:id, :endpoint, :kind, :sealed, :now)"
)
END_SECRETS = text(
    "UPDATE bff_webhook_secrets SET ends_at = :ends WHERE endpoint = :endpoint AND (ends_at IS NULL OR ends_at > :ends)"
)
FORGET_SECRETS = text(
    "DELETE FROM bff_webhook_secrets WHERE endpoint = :endpoint AND (ends_at <= :now OR id NOT IN (SELECT id "
    "FROM bff_webhook_secrets WHERE endpoint = :endpoint "
    "ORDER BY CASE WHEN ends_at IS NULL THEN 0 ELSE 1 END, created_at DESC, ends_at DESC LIMIT :most))"
)
SECRETS = text(
    "SELECT endpoint, id, kind, sealed FROM bff_webhook_secrets WHERE endpoint IN :ids "
    "AND (ends_at IS NULL OR ends_at > :now) ORDER BY created_at DESC, id"
).bindparams(bindparam("ids", expanding=True))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where somebody wants events sent. ``types`` are event types, or ``*`` for all; ``rate`` is deliveries a second at
    the most. Instants are milliseconds of Unix time."""

    id: str
    owner: str
    url: str
    description: str
    version: str | None
    ordered: bool
    rate: float | None
    status: Literal["unverified", "enabled", "disabled"]
    reason: str | None
    created_at: int
    failing_since: int | None
    types: tuple[str, ...] = ()


class Endpoints:
    """The endpoints in ``engine``. Every method is told whose endpoint it is: another owner's is not there."""

    def __init__(self, engine: AsyncEngine, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._sealer = sealer
        self._clock = clock

    async def add(
        self,
        owner: str,
        url: str,
        types: Sequence[str],
        *,
        most: int,
        description: str = "",
        version: str | None = None,
        ordered: bool = False,
        rate: float | None = None,
        kind: Kind = "v1",
    ) -> tuple[Endpoint, str] | None:
        """A new one, unverified, and its secret (``v1a``: its public key). None when the owner has ``most`` already."""
        row = {
            "id": new_id("ep"), "owner": owner, "url": url, "description": description, "version": version,
            "ordered": ordered, "rate": rate,
        }  # fmt: skip
        async with self._engine.begin() as connection:
            if (await connection.execute(COUNT, {"owner": owner})).scalar_one() >= most:
                return None
            await connection.execute(ADD, {**row, "now": self._now()})
            await self._set_types(connection, str(row["id"]), types)
            shown = await self._add_secret(connection, str(row["id"]), kind)
            found = await self._find(connection, owner, str(row["id"]))
        assert found is not None  # noqa: S101 - it was just written
        return found, shown

    async def find(self, owner: str, endpoint: str) -> Endpoint | None:
        """That one, if it is the owner's."""
        async with self._engine.connect() as connection:
            return await self._find(connection, owner, endpoint)

    async def of(self, owner: str) -> list[Endpoint]:
        """All of the owner's, the oldest first."""
        async with self._engine.connect() as connection:
            rows = [dict(row) for row in (await connection.execute(LIST, {"owner": owner})).mappings()]
            return await _with_types(connection, rows)

    async def change(self, owner: str, endpoint: str, changes: Mapping[str, Any]) -> Endpoint | None:
        """Change ``url`` (which is then to be verified anew), ``description``, ``version``, ``rate``, ``types``; or
        disable it with ``enabled=False``: what was waiting is dead then."""
        async with self._engine.begin() as connection:
            await connection.execute(HOLD, {"owner": owner, "id": endpoint})
            old = await self._find(connection, owner, endpoint)
            if old is None:
                return None
            row = {name: getattr(old, name) for name in ("url", "description", "version", "rate", "status", "reason")}
            row |= {name: value for name, value in changes.items() if name in row}
            if row["url"] != old.url:
                row |= {"status": "unverified", "reason": None}
            if changes.get("enabled") is False:
                row |= {"status": "disabled", "reason": "owner"}
                await connection.execute(DROP_WAITING, {"id": endpoint, "reason": "disabled"})
            await connection.execute(CHANGE, {**row, "owner": owner, "id": endpoint})
            if "types" in changes:
                await connection.execute(NO_TYPES, {"id": endpoint})
                await self._set_types(connection, endpoint, changes["types"])
            return await self._find(connection, owner, endpoint)

    async def remove(self, owner: str, endpoint: str) -> bool:
        """Forget it, its secrets, deliveries and attempts; False when there is none."""
        async with self._engine.begin() as connection:
            removed = await connection.execute(REMOVE_ENDPOINT, {"owner": owner, "id": endpoint})
            if not removed.rowcount:
                return False
            for step in REMOVE:
                await connection.execute(step, {"id": endpoint})
        return True

    async def may_ping(self, owner: str, endpoint: str) -> bool:
        """Whether it was not pinged just now; it is from now on."""
        now = self._now()
        async with self._engine.begin() as connection:
            values = {"owner": owner, "id": endpoint, "now": now, "before": now - PING_EVERY}
            return bool((await connection.execute(MAY_PING, values)).rowcount)

    async def enable(self, endpoint: Endpoint) -> None:
        """It has answered at its URL, unless that was changed meanwhile."""
        async with self._engine.begin() as connection:
            await connection.execute(ENABLE, {"owner": endpoint.owner, "id": endpoint.id, "url": endpoint.url})

    async def rotate(self, endpoint: Endpoint, grace: float) -> str | None:
        """A new secret; the one until now signs as well for ``grace`` seconds. None when the endpoint is gone."""
        now = self._now()
        async with self._engine.begin() as connection:
            held = await connection.execute(HOLD, {"owner": endpoint.owner, "id": endpoint.id})
            if not held.rowcount:
                return None
            known = (await connection.execute(SECRETS, {"ids": [endpoint.id], "now": now})).mappings().first()
            kind: Kind = "v1" if known is None else known["kind"]
            await connection.execute(END_SECRETS, {"endpoint": endpoint.id, "ends": now + int(grace * 1000)})
            shown = await self._add_secret(connection, endpoint.id, kind)
            await connection.execute(FORGET_SECRETS, {"endpoint": endpoint.id, "now": now, "most": MOST_SECRETS})
        return shown

    async def secrets(self, endpoint: str) -> list[str]:
        """What it is signed with now, the newest first."""
        async with self._engine.connect() as connection:
            sealed = await secrets_of(connection, [endpoint], self._now())
        return [self._sealer.open(*entry) for entry in sealed.get(endpoint, [])]

    async def _add_secret(self, connection: AsyncConnection, endpoint: str, kind: Kind) -> str:
        secret = new_secret() if kind == "v1" else new_private_key()
        row = {"id": new_id("sec"), "endpoint": endpoint, "kind": kind, "now": self._now()}
        sealed = self._sealer.seal(secret, f"{endpoint}:{row['id']}")
        await connection.execute(ADD_SECRET, {**row, "sealed": sealed})
        return secret if kind == "v1" else public_key(secret)

    async def _set_types(self, connection: AsyncConnection, endpoint: str, types: Sequence[str]) -> None:
        await connection.execute(ADD_TYPE, [{"id": endpoint, "type": kind} for kind in sorted(set(types))])

    async def _find(self, connection: AsyncConnection, owner: str, endpoint: str) -> Endpoint | None:
        rows = (await connection.execute(FIND, {"owner": owner, "id": endpoint})).mappings()
        found = await _with_types(connection, [dict(row) for row in rows])
        return found[0] if found else None

    def _now(self) -> int:
        return int(self._clock() * 1000)


async def secrets_of(
    connection: AsyncConnection, endpoints: Sequence[str], now: int
) -> dict[str, list[tuple[bytes, str]]]:
    """What each is signed with, sealed, and the place it is bound to."""
    found: dict[str, list[tuple[bytes, str]]] = {}
    for row in await connection.execute(SECRETS, {"ids": endpoints, "now": now}):
        found.setdefault(row.endpoint, []).append((row.sealed, f"{row.endpoint}:{row.id}"))
    return found


async def _with_types(connection: AsyncConnection, rows: list[dict[str, Any]]) -> list[Endpoint]:
    wanted: dict[str, list[str]] = {row["id"]: [] for row in rows}
    if wanted:
        for row in await connection.execute(TYPES, {"ids": list(wanted)}):
            wanted[row.endpoint].append(row.type)
    return [Endpoint(**{**row, "ordered": bool(row["ordered"])}, types=tuple(wanted[row["id"]])) for row in rows]
