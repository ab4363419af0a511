"""A session: who signed in, the tokens that were got for it, and until when each is good. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

from ...context import Principal

__all__ = ["Session", "Tokens"]

RENEW_AHEAD = 60.0
RENEW_SHARE = 0.2
DEAD_AHEAD = 5.0
DEAD_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave. ``lasts`` is in seconds, None when it did not say; ``key`` is the thumbprint of the
    key that the access token is bound to (RFC 9449), if any."""

    access: str = field(repr=False)
    lasts: float | None
    refresh: str | None = field(repr=False)
    identity: str | None = field(repr=False)
    scopes: frozenset[str] | None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """All instants are Unix times. ``renew`` is when its access token should be renewed, ``until`` when it is of no use
    any more, ``ends`` when the session is over. ``key`` is the thumbprint of the key that the access token is bound to.
    """

    claims: dict[str, Any]
    scopes: tuple[str, ...]
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    identity: str | None = field(repr=False)
    renew: float
    until: float
    created: float
    ends: float
    seen: float
    tenant: str | None = None
    key: str | None = None
    principal: Principal = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        principal = Principal(
            self.claims["sub"],
            scopes=frozenset(self.scopes),
            tenant=self.tenant,
            claims=MappingProxyType(self.claims),
            issuer=self.claims["iss"],
            token=self.access,
            token_type="Bearer" if self.key is None else "DPoP",
        )
        object.__setattr__(self, "principal", principal)

    @classmethod
    def begin(
        cls,
        claims: dict[str, Any],
        tokens: Tokens,
        asked: frozenset[str],
        tenant: str | None,
        lasts: float,
        now: float,
    ) -> Self:
        """A session for who signed in just now, for ``lasts`` seconds at the most. Without a refresh token it ends with
        its access token."""
        renew, until = _instants(tokens, now, now + lasts)
        scopes = asked if tokens.scopes is None else tokens.scopes
        ends = now + lasts if tokens.refresh is not None else min(now + lasts, until)
        return cls(
            claims,
            tuple(sorted(scopes)),
            tokens.access,
            tokens.refresh,
            tokens.identity,
            renew if tokens.refresh is not None else ends,
            until,
            now,
            ends,
            now,
            tenant,
            tokens.key,
        )

    def renewed(self, tokens: Tokens, claims: dict[str, Any] | None, now: float) -> Self:
        """The same session with new tokens; what is not among them stays (RFC 6749 section 6)."""
        renew, until = _instants(tokens, now, self.ends)
        return replace(
            self,
            claims=self.claims if claims is None else self.claims | claims,
            scopes=self.scopes if tokens.scopes is None else tuple(sorted(tokens.scopes)),
            access=tokens.access,
            refresh=tokens.refresh or self.refresh,
            identity=tokens.identity or self.identity,
            renew=renew,
            until=until,
            key=tokens.key,
        )

    def with_key(self, key: str | None) -> Self | None:
        """The same session for who proves the possession of ``key``: a token that is bound to another one has to be
        renewed first, None when that cannot be."""
        if key == self.key:
            return self
        return None if self.refresh is None else replace(self, renew=0.0, until=0.0)

    def used(self, now: float) -> Self:
        """The same session, used just now."""
        return replace(self, seen=now)

    def dump(self) -> bytes:
        """As bytes."""
        values = {name: getattr(self, name) for name in _KEPT}
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def load(cls, data: bytes) -> Self | None:
        """From what ``dump`` gave, maybe that of another version; None for what cannot be one of ours."""
        found = json.loads(data)
        values = {name: found[name] for name in _KEPT if name in found}
        try:
            return cls(**{**values, "scopes": tuple(values["scopes"])})
        except (KeyError, TypeError):
            return None


_KEPT = [name for name in Session.__slots__ if name != "principal"]


def _instants(tokens: Tokens, now: float, ends: float) -> tuple[float, float]:
    """When to renew and until when to use: a little ahead, but not much of a short life."""
    if tokens.lasts is None:
        return ends, ends
    renew = tokens.lasts - min(RENEW_AHEAD, tokens.lasts * RENEW_SHARE)
    until = tokens.lasts - min(DEAD_AHEAD, tokens.lasts * DEAD_SHARE)
    return now + renew, now + until
