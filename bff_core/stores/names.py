"""What stores call things by outside this process, and for how long."""

from __future__ import annotations

import math
from hashlib import blake2b

__all__ = ["LONGEST_TTL", "milliseconds", "name_of"]

LONGEST_TTL = 2**31  # seconds
DIGEST_SIZE = 32


def name_of(namespace: str, key: str) -> bytes:
    """A digest of fixed length, so that keys may be long and hold anything, no two namespaces meet, and a session's
    identifier cannot be read in the store."""
    return blake2b(f"{namespace}\0{key}".encode(errors="surrogatepass"), digest_size=DIGEST_SIZE).digest()


def milliseconds(ttl: float) -> int:
    """``ttl`` seconds as whole milliseconds, rounded up; zero for what has ended. Raises ``ValueError`` for NaN."""
    if math.isnan(ttl):
        raise ValueError("a time to live must be a number of seconds")
    return math.ceil(max(0.0, min(ttl, LONGEST_TTL)) * 1000)
