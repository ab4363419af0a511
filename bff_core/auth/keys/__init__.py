"""API keys that are issued, rotated and revoked while the gateway runs."""

from .planned import StoredPlans, TenantPlan
from .record import KeyRecord
from .stored import StoredKeys, Uses

__all__ = ["KeyRecord", "StoredKeys", "StoredPlans", "TenantPlan", "Uses"]
