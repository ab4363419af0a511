"""The table of tenants' plans."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from ..tenant import tenant_of
from .planned import TenantPlan

__all__ = ["PLANS", "PlanStore"]

PLANS = Table(
    "bff_tenant_plans",
    MetaData(),
    Column("tenant", String, primary_key=True),
    Column("plan", String),
    Column("limits", String),
    Column("changed_at", BigInteger),
)


class PlanStore:
    """The table of tenants' plans, which the keys' migrations make. ``prepare`` does them. Methods raise what
    SQLAlchemy raises."""

    def __init__(
        self, engine: AsyncEngine, prepare: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._prepare = prepare
        self._clock = clock

    async def put(self, tenant: str, plan: str | None, limits: Mapping[str, Any] | None = None) -> TenantPlan:
        """What ``tenant`` has from now on: in force wherever keys are known within their ``ttl``. Raises
        ``ValueError`` for what cannot name a tenant."""
        tenant_of(tenant)
        await self._prepare()
        made = TenantPlan(tenant, plan, dict(limits) if limits else None, self._clock())
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        row = {
            "plan": plan,
            "limits": json.dumps(made.limits) if made.limits else None,
            "changed_at": round(made.changed_at * 1000),
        }
        new = dialect.insert(PLANS).values(tenant=tenant, **row)
        async with self._engine.begin() as connection:
            await connection.execute(new.on_conflict_do_update(index_elements=["tenant"], set_=row))
        return made

    async def remove(self, tenant: str) -> bool:
        """It has what its keys say again; whether there was something."""
        await self._prepare()
        async with self._engine.begin() as connection:
            return bool((await connection.execute(delete(PLANS).where(PLANS.c.tenant == tenant))).rowcount)

    async def of(self, tenant: str) -> TenantPlan | None:
        """What ``tenant`` has booked."""
        await self._prepare()
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(PLANS).where(PLANS.c.tenant == tenant))).mappings().first()
        return None if row is None else tenant_plan(row)

    async def all(self) -> list[TenantPlan]:
        """Everybody's, by tenant."""
        await self._prepare()
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(PLANS).order_by(PLANS.c.tenant))
            return [tenant_plan(row) for row in rows.mappings()]


def tenant_plan(row: Mapping[Any, Any]) -> TenantPlan:
    """Of a row."""
    limits = None if row["limits"] is None else json.loads(row["limits"])
    return TenantPlan(row["tenant"], row["plan"], limits, row["changed_at"] / 1000)
