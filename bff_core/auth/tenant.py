"""Names of tenants, as issuers and services give them."""

from __future__ import annotations

from typing import Any

__all__ = ["tenant_of"]

LONGEST = 255


def tenant_of(value: Any) -> str | None:
    """``value``, when that may name a tenant, in databases, too: at most 255 printable characters without ``|``, which
    stands between issuer and subject where somebody belongs to none. Raises ``ValueError`` for any other."""
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST or not value.isprintable() or "|" in value:
        raise ValueError("a tenant is at most 255 printable characters without '|'")
    return value
