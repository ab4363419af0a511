"""Names of others (tenants, subjects) as a database takes them."""

from __future__ import annotations

from hashlib import sha256

__all__ = ["storable"]

LONGEST = 255


def storable(name: str) -> str:
    """``name``, or its digest where it is longer than 255 characters, or has some that are not printable: NUL and lone
    surrogates fail a whole transaction in PostgreSQL or in the driver."""
    if len(name) <= LONGEST and name.isprintable():
        return name
    return f"sha256:{sha256(name.encode(errors='surrogatepass')).hexdigest()}"
