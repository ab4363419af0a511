"""What is known of an API key besides the key itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...context import PLAN_LIMITS, Principal

__all__ = ["KeyRecord"]


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An issued key. ``id`` names it openly; ``hint`` is its beginning, to tell it from others. Instants are Unix time
    in seconds; ``replaced_by`` is the id of the key that it was rotated to.

    ``principal`` is whom it stands for: subject ``partner``, with the claims ``key_id``, ``plan`` and ``api_version``
    (the version it is pinned to) where there are such. ``plan`` and ``limits`` (JSON) are its tenant's, where that has
    booked some.
    """

    id: str
    partner: str
    tenant: str
    hint: str
    name: str = ""
    scopes: frozenset[str] = frozenset()
    plan: str | None = None
    version: str | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    replaced_by: str | None = None
    last_used_at: float | None = None
    limits: str | None = None
    principal: Principal = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        claims: Mapping[str, Any] = {
            "key_id": self.id,
            "plan": self.plan,
            "api_version": self.version,
            PLAN_LIMITS: self.limits,
        }
        known = {name: value for name, value in claims.items() if value is not None}
        principal = Principal(self.partner, "api_key", self.scopes, self.tenant, known)
        object.__setattr__(self, "principal", principal)

    def state(self, now: float) -> str:
        """``active``, ``revoked`` or ``expired``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"
