"""Whose a value is that outlasts the token it was got with."""

from __future__ import annotations

import binascii
import hashlib
import json
from base64 import urlsafe_b64decode
from functools import lru_cache

from ..context import Principal

__all__ = ["lasting"]

REMEMBERED = 1024
PARTS = 3
OF_ONE_TOKEN = frozenset({"exp", "iat", "nbf", "jti"})
"""Claims that are new in each token (RFC 7519 section 4.1), and say nothing about whom it is for."""


def lasting(principal: Principal | None) -> bytes:
    """Marks what is kept for ``principal``, and for others with its identity only as long as their tokens say the same:
    all claims of a JWT but those that each token has anew, so that a renewed one finds what the last one has left. Of
    any other token nobody knows what it says: each is another.
    """
    if principal is None:
        return b""
    return principal.whose if principal.token is None else principal.whose + _said_by(principal.token)


@lru_cache(REMEMBERED)
def _said_by(token: str) -> bytes:
    said = token.encode(errors="surrogatepass")
    parts = said.split(b".")
    if len(parts) == PARTS:
        try:
            claims = json.loads(urlsafe_b64decode(parts[1] + b"=="))
            lasting = {name: value for name, value in claims.items() if name not in OF_ONE_TOKEN}
            said = json.dumps(lasting, sort_keys=True).encode()
        except (ValueError, RecursionError, AttributeError, binascii.Error):
            pass
    return hashlib.sha256(said).digest()
