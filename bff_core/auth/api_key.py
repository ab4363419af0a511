"""API keys from the settings, kept as SHA-256 digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ..context import Principal

__all__ = ["ApiKey", "ApiKeys"]

MAX_KEY = 256


class ApiKey(BaseModel):
    """One key: its SHA-256 digest in hex, the partner it stands for, and that one's plan (see ``RateLimit.plans``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    partner: Annotated[str, Field(min_length=1)]
    scopes: frozenset[str] = frozenset()
    plan: str | None = None


class ApiKeys:
    """Authenticates by the header ``X-API-Key``."""

    challenge = 'ApiKey realm="partner"'

    def __init__(self, keys: Iterable[ApiKey], *, header: str = "X-API-Key") -> None:
        self._header = header.lower().encode()
        self._keys = [
            (
                key.sha256,
                Principal(
                    key.partner, "api_key", key.scopes, key.partner, {"key_id": key.sha256[:16], "plan": key.plan}
                ),
            )
            for key in keys
        ]
        self.scheme = {"type": "apiKey", "in": "header", "name": header}

    async def authenticate(self, headers: list[tuple[bytes, bytes]]) -> Principal | None:
        """The partner whose key the request bears."""
        given = next((value for name, value in headers if name == self._header), None)
        if not given or len(given) > MAX_KEY:
            return None
        digest = hashlib.sha256(given).hexdigest()
        found = None
        for known, principal in self._keys:
            if hmac.compare_digest(known, digest):
                found = principal
        return found

    async def aclose(self) -> None:
        """Nothing is held."""
