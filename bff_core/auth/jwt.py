"""Reading a signed JWT (RFC 7515, RFC 7519) without trusting it: pure, strict, bounded."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["BadToken", "Expected", "Token", "read_token"]

MAX_TOKEN = 8192
MAX_DEPTH = 16
MAX_KID = 256
_SEGMENT = re.compile(rb"[A-Za-z0-9_-]+")


class BadToken(ValueError):
    """Not a token to be trusted; the message is a code that says why."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it says it is. Nothing of it is verified but its form."""

    alg: str
    kid: str | None
    typ: str | None
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must say. ``audience`` has those of which it must name one, ``required`` the claims it must have,
    ``typ`` its media type (RFC 9068: ``at+jwt``), None for any. ``leeway`` is in seconds."""

    issuer: str
    audience: frozenset[str]
    required: Sequence[str]
    typ: str | None
    leeway: float

    def check(self, token: Token, now: float) -> float:
        """The instant (Unix time) until which the token may be used; raises ``BadToken``."""
        claims = token.claims
        if claims.get("iss") != self.issuer:
            raise BadToken("wrong_issuer")
        if self.typ is not None and _media_type(token.typ) != self.typ:
            raise BadToken("wrong_type")
        if not self.audience & _audience(claims.get("aud")):
            raise BadToken("wrong_audience")
        if any(claims.get(name) in (None, "", []) for name in self.required):
            raise BadToken("claim_missing")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise BadToken("claim_type")
        expires = _instant(claims, "exp")
        if expires is None:
            raise BadToken("claim_missing")
        if now >= expires + self.leeway:
            raise BadToken("expired")
        for name in ("nbf", "iat"):
            instant = _instant(claims, name)
            if instant is not None and now < instant - self.leeway:
                raise BadToken("not_yet_valid")
        return expires + self.leeway


def read_token(token: bytes) -> Token:
    """The parts of a token in compact serialization; raises ``BadToken``.

    Keys that it brings along or points to (``jwk``, ``jku``, ``x5c``, ``x5u``) are not looked at. There is no
    extension that we understand, so whatever is ``crit`` is refused (RFC 7515 section 4.1.11).
    """
    if len(token) > MAX_TOKEN:
        raise BadToken("too_large")
    parts = token.split(b".")
    if len(parts) != 3 or not all(_SEGMENT.fullmatch(part) for part in parts):  # noqa: PLR2004 - header, payload, signature
        raise BadToken("not_a_jwt")
    header, claims = _object(_decode(parts[0])), _object(_decode(parts[1]))
    alg, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if "crit" in header or "b64" in header:
        raise BadToken("critical_header")
    if not isinstance(alg, str) or not isinstance(typ, str | None):
        raise BadToken("header_type")
    if not isinstance(kid, str | None) or len(kid or "") > MAX_KID:
        raise BadToken("header_type")
    return Token(alg, kid, typ, claims, parts[0] + b"." + parts[1], _decode(parts[2]))


def _decode(segment: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError:
        raise BadToken("not_a_jwt") from None


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=_members, parse_constant=_no_constant)
    except BadToken:
        raise
    except (ValueError, RecursionError):
        raise BadToken("not_json") from None
    if not isinstance(value, dict):
        raise BadToken("not_an_object")
    if _is_deep(value):
        raise BadToken("too_deep")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Who reads the first and who reads the last would see two tokens (RFC 7519 section 4).
        raise BadToken("duplicate_member")
    return members


def _no_constant(_: str) -> Any:
    raise BadToken("not_json")  # NaN and Infinity are Python's, not JSON's


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _audience(value: Any) -> frozenset[str]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in values):
        return frozenset()
    return frozenset(values)


def _instant(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2)."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadToken("claim_type")
    try:
        instant = float(value)
    except OverflowError:
        raise BadToken("claim_type") from None
    if not math.isfinite(instant):
        raise BadToken("claim_type")  # 1e999 is JSON, but no instant
    return instant


def _media_type(typ: str | None) -> str | None:
    """Without the prefix that may be left out (RFC 7515 section 4.1.9)."""
    return None if typ is None else typ.lower().removeprefix("application/")
