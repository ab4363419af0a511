"""``Prefer: return=minimal`` on what changes something (RFC 7240 section 4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["MINIMAL", "wants_minimal"]

MINIMAL = (b"preference-applied", b"return=minimal")
_RETURN = re.compile(rb'(?:^|[,;])\s*return\s*=\s*(?:"(\w*)"|(\w*))\s*(?=$|[,;])', re.IGNORECASE)


def wants_minimal(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether who asks wants no content back. Of a preference given twice the first counts."""
    for name, value in headers:
        if name == b"prefer":
            found = _RETURN.search(value)
            if found is not None:
                return (found[1] or found[2] or b"").lower() == b"minimal"
    return False
