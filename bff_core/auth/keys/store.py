"""API keys in SQL: SQLite or PostgreSQL, the same statements for both."""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, case, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from ...stores import Step, migrate, storable
from ..key_form import KeyDigests, issued, new_api_key
from ..tenant import tenant_of
from .plans import PLANS, PlanStore
from .record import KeyRecord

__all__ = ["KeyStore"]

HINT = len("bff_live_") + 4
ALPHABET = string.digits + string.ascii_lowercase
_meta = MetaData()
KEYS = Table(
    "bff_api_keys",
    _meta,
    Column("id", String, primary_key=True),
    Column("digest", LargeBinary),
    *(Column(name, String) for name in ("partner", "tenant", "hint", "name", "scopes", "plan", "version")),
    *(Column(name, BigInteger) for name in ("created_at", "expires_at", "revoked_at", "last_used_at")),
    Column("replaced_by", String),
)
USES = Table(
    "bff_version_uses",
    _meta,
    Column("version", String, primary_key=True),
    Column("client", String, primary_key=True),
    Column("uses", BigInteger),
    Column("last_used_at", BigInteger),
)


def _steps(binary: str) -> Sequence[Step]:
    return (
        f"""
        CREATE TABLE bff_api_keys (
            id VARCHAR(40) PRIMARY KEY, digest {binary} NOT NULL UNIQUE, partner TEXT NOT NULL, tenant TEXT NOT NULL,
            hint TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, plan TEXT, version TEXT,
            created_at BIGINT NOT NULL, expires_at BIGINT, revoked_at BIGINT, last_used_at BIGINT, replaced_by TEXT
        )""",
        "CREATE INDEX bff_api_keys_partner ON bff_api_keys (partner, created_at)",
        """
        CREATE TABLE bff_version_uses (
            version TEXT NOT NULL, client TEXT NOT NULL, uses BIGINT NOT NULL, last_used_at BIGINT NOT NULL,
            PRIMARY KEY (version, client)
        )""",
        """
        CREATE TABLE bff_tenant_plans (
            tenant VARCHAR(255) PRIMARY KEY, plan TEXT, limits TEXT, changed_at BIGINT NOT NULL
        )""",
    )


class KeyStore:
    """Issues keys and knows them again by their ``digests``; a key itself is given out once and kept nowhere. ``plans``
    are those that tenants have booked.

    ``clock`` gives Unix time. Methods raise what SQLAlchemy and the driver raise.
    """

    def __init__(self, engine: AsyncEngine, digests: KeyDigests, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._digests = digests
        self._clock = clock
        self._ready = False
        self._migrating = asyncio.Lock()
        self.plans = PlanStore(engine, self._prepare, clock)

    async def issue(
        self,
        partner: str,
        *,
        tenant: str | None = None,
        name: str = "",
        scopes: Collection[str] = (),
        plan: str | None = None,
        version: str | None = None,
        expires_in: float | None = None,
        environment: Literal["live", "test"] = "live",
    ) -> tuple[str, KeyRecord]:
        """A new key, to be shown once, and what is known of it. It ends in ``expires_in`` seconds, or never. Raises
        ``ValueError`` when ``tenant``, or ``partner`` without one, cannot name a tenant."""
        tenant_of(tenant or partner)
        now = self._clock()
        record = KeyRecord(
            id=_new_id(),
            partner=partner,
            tenant=tenant or partner,
            hint="",
            name=name,
            scopes=frozenset(scopes),
            plan=plan,
            version=version,
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
        )
        key, record, row = self._new(record, environment)
        await self._write(insert(KEYS).values(row))
        return key, record

    async def keep(self, key: str, partner: str, *, name: str = "", plan: str | None = None) -> None:
        """Let in a ``key`` that is known already, such as a demo's; nothing happens when it is there. Raises
        ``ValueError`` for one that ``new_api_key`` has not made, and as ``issue``."""
        tenant_of(partner)
        if not issued(key.encode()):
            raise ValueError("this is no API key; new_api_key() makes one")
        if await self.find(key.encode()) is not None:
            return
        record = KeyRecord(_new_id(), partner, partner, key[:HINT], name, plan=plan, created_at=self._clock())
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        row = self._row(record, key)
        await self._write(dialect.insert(KEYS).values(row).on_conflict_do_nothing(index_elements=["digest"]))

    async def rotate(self, key_id: str, *, grace: float) -> tuple[str, KeyRecord]:
        """A new key like this one, which goes on for ``grace`` seconds, no longer than it would have. Of several that
        try at once one succeeds. Raises ``LookupError`` when it is not there, not in force or replaced already."""
        await self._prepare()
        now = self._clock()
        until = _milliseconds(now + grace)
        async with self._engine.begin() as connection:
            row = (await connection.execute(select(KEYS).where(KEYS.c.id == key_id))).mappings().one_or_none()
            old = None if row is None else _record(row)
            if old is None or old.state(now) != "active":
                raise LookupError(f"there is no key '{key_id}' in force")
            like = replace(old, id=_new_id(), created_at=now, last_used_at=None)
            key, record, new = self._new(like, "test" if old.hint.startswith("bff_test_") else "live")
            ends = case((or_(KEYS.c.expires_at.is_(None), KEYS.c.expires_at > until), until), else_=KEYS.c.expires_at)
            replaced = await connection.execute(
                update(KEYS)
                .where(KEYS.c.id == key_id, KEYS.c.replaced_by.is_(None), KEYS.c.revoked_at.is_(None))
                .values(replaced_by=record.id, expires_at=ends)
            )
            if replaced.rowcount != 1:
                raise LookupError(f"the key '{key_id}' was rotated already; rotate the newer one")
            await connection.execute(insert(KEYS).values(new))
        return key, record

    async def revoke(self, key_id: str) -> bool:
        """End it now; whether it was there and not revoked yet."""
        statement = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_at.is_(None))
        return await self._write(statement.values(revoked_at=_milliseconds(self._clock()))) == 1

    async def issued(self, partner: str | None = None, *, tenant: str | None = None) -> list[KeyRecord]:
        """All keys, or those of ``partner``, or of ``tenant``; the oldest first."""
        await self._prepare()
        statement = _WITH_PLAN.order_by(KEYS.c.partner, KEYS.c.created_at, KEYS.c.id)
        if tenant is not None:
            statement = statement.where(KEYS.c.tenant == tenant)
        if partner is not None:
            statement = statement.where(KEYS.c.partner == partner)
        async with self._engine.connect() as connection:
            return [_record(row) for row in (await connection.execute(statement)).mappings()]

    async def find(self, key: bytes) -> KeyRecord | None:
        """What is known of ``key``, in force or not; None when it was never issued."""
        await self._prepare()
        statement = _WITH_PLAN.where(KEYS.c.digest.in_(self._digests.all(key)))
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement)).mappings().first()
        return None if row is None else _record(row)

    async def used(self, keys: Mapping[str, float], versions: Mapping[tuple[str, str], tuple[int, float]]) -> None:
        """Note when each key (by its id) was used last, and how often more each version by each client; all of it in
        one transaction. What other replicas noted stands, if it is later."""
        await self._prepare()
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        async with self._engine.begin() as connection:
            for key_id, instant in sorted(keys.items()):  # in one order, so that no two replicas wait for each other
                at = _milliseconds(instant)
                later = or_(KEYS.c.last_used_at.is_(None), KEYS.c.last_used_at < at)
                await connection.execute(update(KEYS).where(KEYS.c.id == key_id, later).values(last_used_at=at))
            for (version, client), (count, instant) in sorted(versions.items()):
                new = dialect.insert(USES).values(
                    version=version, client=storable(client), uses=count, last_used_at=_milliseconds(instant)
                )
                both = {"uses": USES.c.uses + new.excluded.uses, "last_used_at": new.excluded.last_used_at}
                await connection.execute(new.on_conflict_do_update(index_elements=["version", "client"], set_=both))

    async def version_uses(self) -> list[tuple[str, str, int, float]]:
        """Version, client, number of requests, and when the last was; the busiest first."""
        await self._prepare()
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(USES).order_by(USES.c.version.desc(), USES.c.uses.desc()))
            return [(row.version, row.client, row.uses, row.last_used_at / 1000) for row in rows]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()

    def _new(self, record: KeyRecord, environment: Literal["live", "test"]) -> tuple[str, KeyRecord, dict[str, Any]]:
        key = new_api_key(environment)
        record = replace(record, hint=key[:HINT])
        return key, record, self._row(record, key)

    def _row(self, record: KeyRecord, key: str) -> dict[str, Any]:
        row: dict[str, Any] = {
            column.name: getattr(record, column.name) for column in KEYS.columns if column.name != "digest"
        }
        row |= {"digest": self._digests.current(key.encode()), "scopes": " ".join(sorted(record.scopes))}
        for name in ("created_at", "expires_at"):
            row[name] = None if row[name] is None else _milliseconds(row[name])
        return row

    async def _write(self, statement: Any) -> int:
        await self._prepare()
        async with self._engine.begin() as connection:
            count: int = (await connection.execute(statement)).rowcount
        return count

    async def _prepare(self) -> None:
        if self._ready:
            return
        async with self._migrating:
            if not self._ready:
                await migrate(self._engine, "keys", _steps(_BINARY[self._engine.dialect.name]))
                self._ready = True


# What a tenant has booked stands before what its keys say.
_WITH_PLAN = select(
    *(column for column in KEYS.columns if column.name != "plan"),
    func.coalesce(PLANS.c.plan, KEYS.c.plan).label("plan"),
    PLANS.c.limits,
).select_from(KEYS.outerjoin(PLANS, PLANS.c.tenant == KEYS.c.tenant))
_BINARY = {"postgresql": "BYTEA", "sqlite": "BLOB"}


def _new_id() -> str:
    return "key_" + "".join(secrets.choice(ALPHABET) for _ in range(16))


def _milliseconds(instant: float) -> int:
    return round(instant * 1000)


def _record(row: Mapping[Any, Any]) -> KeyRecord:
    values = {name: value for name, value in row.items() if name != "digest"}
    for name in ("created_at", "expires_at", "revoked_at", "last_used_at"):
        values[name] = None if values[name] is None else values[name] / 1000
    values["scopes"] = frozenset(values["scopes"].split())
    return KeyRecord(**values)
