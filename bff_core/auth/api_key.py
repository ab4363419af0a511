"""API keys from the settings, kept as SHA-256 digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from ..context import Principal
from ..errors import Refused
from .authenticator import header_values
from .bearer import bearer_token
from .key_form import well_formed

__all__ = ["ApiKey", "ApiKeys", "key_in"]

BEARER_PREFIX = b"bff_"


class ApiKey(BaseModel):
    """One key: its SHA-256 digest in hex, the partner it stands for, and that one's plan (see ``RateLimit.plans``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    partner: Annotated[str, Field(min_length=1)]
    scopes: frozenset[str] = frozenset()
    plan: str | None = None


class ApiKeys:
    """Authenticates by the header ``X-API-Key``, or by ``Authorization: Bearer`` with a key that begins with ``bff_``.

    A key with a wrong checksum is refused without a look-up.
    """

    challenge = 'ApiKey realm="partner"'
    by_request = False

    def __init__(self, keys: Iterable[ApiKey], *, header: str = "X-API-Key") -> None:
        self._header = header.lower().encode()
        self._keys: dict[bytes, tuple[bytes, Principal]] = {}
        for key in keys:
            digest = bytes.fromhex(key.sha256)
            claims = {"key_id": key.sha256[:16], "plan": key.plan}
            self._keys[digest[:8]] = digest, Principal(key.partner, "api_key", key.scopes, key.partner, claims)
        self.scheme = {"type": "apiKey", "in": "header", "name": header}

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        given = key_in(scope, self._header, self.challenge)
        if given is None:
            return None
        if not well_formed(given):
            raise Refused(401, "key_form", challenge=self.challenge)
        digest = hashlib.sha256(given).digest()
        # Found by a part of its digest, which tells a guesser nothing, then compared whole in constant time.
        known = self._keys.get(digest[:8])
        if known is None or not hmac.compare_digest(known[0], digest):
            raise Refused(401, "unknown_key", challenge=self.challenge)
        return known[1]

    async def aclose(self) -> None:
        """Nothing is held."""


def key_in(scope: Scope, header: bytes, challenge: str) -> bytes | None:
    """The key that a request bears in ``header``, or as a bearer token. Raises ``Refused`` when there are several."""
    given = header_values(scope, header)
    token = bearer_token(scope)
    if token is not None and token.startswith(BEARER_PREFIX):
        given.append(token)
    if len(given) > 1:
        raise Refused(401, "duplicate_credentials", challenge=challenge)
    return given[0] if given else None
