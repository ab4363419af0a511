"""The usage plans of tenants: one for all keys and tokens of each, with limits of its own where it has some."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import Scope

from ...context import PLAN_LIMITS, Principal
from ..authenticator import Authenticator, depends_on_request
from ..expiring import ExpiringMap, Shared

if TYPE_CHECKING:
    from .stored import StoredKeys

__all__ = ["StoredPlans", "TenantPlan"]

log = structlog.get_logger("bff.keys")
REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """What a tenant has booked: the name of a plan, and ``limits`` by name that stand instead of the plan's, each a
    value as in ``plans=`` of the limit, as JSON has it. ``changed_at`` is Unix time."""

    tenant: str
    plan: str | None = None
    limits: Mapping[str, Any] | None = None
    changed_at: float = 0.0

    def claims(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """``claims`` of a principal of this tenant, with its plan."""
        own = {"plan": self.plan, PLAN_LIMITS: json.dumps(self.limits) if self.limits else None}
        return {**claims, **{name: value for name, value in own.items() if value is not None}}


class StoredPlans:
    """``auth``, whose principals have the plan that their tenant has booked in the database of ``keys``; of who has
    booked none the claims stay as they are. A change is in force within the ``ttl`` of ``keys``. While the database
    cannot be asked, what was known last holds for as long as this process lives, else the claims do."""

    def __init__(
        self, auth: Authenticator, keys: StoredKeys, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.challenge, self.scheme = auth.challenge, auth.scheme
        self.by_request = depends_on_request(auth)
        self._auth = auth
        self._keys = keys
        self._found: Shared[TenantPlan] = Shared(REMEMBERED, clock=monotonic)
        self._last: ExpiringMap[TenantPlan] = ExpiringMap(REMEMBERED)

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        principal = await self._auth.authenticate(scope)
        if principal is None or principal.tenant is None:
            return principal
        tenant = principal.tenant
        key = tenant.encode(errors="surrogatepass")
        plan = self._found.known(key)
        if plan is None:
            plan = await self._found.get(key, lambda: self._ask(tenant, key))
        if plan.plan is None and plan.limits is None:
            return principal
        return replace(principal, claims=plan.claims(principal.claims))

    async def aclose(self) -> None:
        """Free what is held; the keys are closed by whoever has them."""
        await self._found.aclose()
        await self._auth.aclose()

    async def _ask(self, tenant: str, key: bytes) -> tuple[TenantPlan, float, bool]:
        try:
            async with asyncio.timeout(self._keys.timeout):
                plan = await self._keys.store.plans.of(tenant)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            log.warning("plans.unavailable", error=type(error).__name__)
            return self._last.get(key, 0.0) or TenantPlan(tenant), 1.0, True
        found = plan or TenantPlan(tenant)
        self._last.put(key, found, float("inf"))
        return found, self._keys.ttl, True
