"""HTTP caching (RFC 9111) as pure functions: what may be kept, for how long, and when it may be served.

Nothing here does I/O or reads a clock: ``now`` is Unix seconds, given by the caller. The method is always GET.
Headers are pairs with lower-case names, as ``WireResponse.headers``. Where the RFC leaves a choice, the cautious
one is made: there is no heuristic freshness (section 4.2.2), a qualified ``private="..."`` or ``no-cache="..."``
counts as the unqualified one, and freshness information that makes no sense means stale.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum

from .dates import http_date
from .fields import FIELD_NAME, LONGEST, Headers, delta_seconds, first, joined, parse_cache_control

__all__ = [
    "REASONS",
    "Decision",
    "Stored",
    "conditional_headers",
    "decide",
    "matches",
    "refreshed",
    "remaining",
    "store",
    "usable_on_error",
    "validates",
]

STORABLE = frozenset({200, 203, 204, 300, 301, 404, 410})
PAIR_OVERHEAD = 160  # bytes that CPython spends on a tuple of two short bytes objects
SKEW = 5.0
ENTRY_OVERHEAD = 512  # and on the rest of an entry

# Section 3.1, and RFC 9110 section 7.6.1: fields of one connection, never of the stored response.
CONNECTION_FIELDS = frozenset({
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
})  # fmt: skip
# Section 3.2: fields that describe the stored body, which a 304 does not bring.
BODY_FIELDS = frozenset({b"content-encoding", b"content-length", b"content-range"})
REASONS = ("cache-control", "expires", "etag", "last-modified")
"""An answer without any of these fields is not worth storing: it has neither freshness nor a validator."""
CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_ENTITY_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored response, with what decides when it may be served. Times are Unix seconds, spans are seconds."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    vary: tuple[tuple[bytes, bytes | None], ...]  # the request's values of the fields that Vary names
    stored_at: float
    initial_age: float  # corrected_initial_age of section 4.2.3
    lifetime: float  # freshness_lifetime of section 4.2.1
    swr: float  # stale-while-revalidate, RFC 5861 section 3
    sie: float  # stale-if-error, RFC 5861 section 4
    no_cache: bool  # never served before the origin has confirmed it
    must_revalidate: bool  # never served stale
    etag: bytes | None
    last_modified: bytes | None

    @property
    def size(self) -> int:
        """About how many bytes of memory this takes."""
        pairs = sum(len(name) + len(value) for name, value in self.headers)
        pairs += sum(len(name) + len(value or b"") for name, value in self.vary)
        count = len(self.headers) + len(self.vary)
        validators = len(self.etag or b"") + len(self.last_modified or b"")
        return len(self.body) + pairs + validators + count * PAIR_OVERHEAD + ENTRY_OVERHEAD


class Decision(Enum):
    """What to do with a stored response that matches the request."""

    FRESH = "fresh"
    """Serve it (section 4.2)."""
    STALE_WHILE_REVALIDATE = "stale-while-revalidate"
    """Serve it, and ask the origin in the background (RFC 5861 section 3)."""
    REVALIDATE = "revalidate"
    """Ask the origin first (section 4.3); if that fails, ``usable_on_error`` tells whether it may be served."""


def store(
    request_headers: Headers,
    status: int,
    response_headers: Headers,
    body: bytes,
    *,
    now: float,
    requested_at: float,
    shared: bool,
    authenticated: bool,
) -> Stored | None:
    """The response as it may be kept, or None where it may not (section 3).

    ``now`` is when the response came, ``requested_at`` when its request left. ``authenticated`` says that the request
    carried a user's identity; an Authorization field says so too. On top of section 3 nothing is kept that sets a
    cookie, that is incomplete (206), that could never be served, or that a shared cache would have to keep
    together with a credential (Vary naming one that the request carries).
    """
    request_headers = list(request_headers)
    headers = _storable_fields(list(response_headers))
    directives = parse_cache_control(joined(headers, b"cache-control") or b"")
    requested = parse_cache_control(joined(request_headers, b"cache-control") or b"")
    if status not in STORABLE or "no-store" in directives or "no-store" in requested:  # sections 3, 5.2.1.5, 5.2.2.5
        return None
    if any(name == b"set-cookie" for name, _ in headers):
        return None
    if shared:
        if "private" in directives:  # section 5.2.2.7
            return None
        identified = authenticated or first(request_headers, b"authorization") is not None
        if identified and not directives.keys() & {"public", "s-maxage", "must-revalidate"}:  # section 3.5
            return None
    vary = _selecting(headers, request_headers)
    if vary is None or (shared and any(name in CREDENTIALS and value is not None for name, value in vary)):
        return None

    # Section 5.2.2.10: s-maxage brings proxy-revalidate with it. A cache of one user may serve stale despite
    # proxy-revalidate (section 5.2.2.8), this one does not.
    must_revalidate = "must-revalidate" in directives or "proxy-revalidate" in directives
    must_revalidate = must_revalidate or (shared and "s-maxage" in directives)
    etag = first(headers, b"etag")
    last_modified = first(headers, b"last-modified")
    stored = Stored(
        status=status,
        headers=tuple(headers),
        body=body,
        vary=vary,
        stored_at=now,
        initial_age=_initial_age(headers, now, requested_at),
        lifetime=_lifetime(headers, directives, now, shared=shared),
        swr=float(delta_seconds(directives.get("stale-while-revalidate")) or 0),
        sie=float(delta_seconds(directives.get("stale-if-error")) or 0),
        no_cache="no-cache" in directives,
        must_revalidate=must_revalidate,
        etag=etag if etag is not None and _ENTITY_TAG.fullmatch(etag) else None,
        last_modified=last_modified
        if last_modified is not None and http_date(last_modified, now) is not None
        else None,
    )
    if stored.etag is None and stored.last_modified is None:
        servable = decide(stored, now) is not Decision.REVALIDATE or usable_on_error(stored, now)
        return stored if servable else None
    return stored


def decide(stored: Stored, now: float) -> Decision:
    """How a request that ``stored`` matches may be answered at ``now`` (sections 4, 4.2, 4.2.4)."""
    if stored.no_cache:  # section 5.2.2.4
        return Decision.REVALIDATE
    age = _age(stored, now)
    if stored.lifetime > age:
        return Decision.FRESH
    if not stored.must_revalidate and stored.lifetime + stored.swr > age:
        return Decision.STALE_WHILE_REVALIDATE
    return Decision.REVALIDATE


def remaining(stored: Stored, now: float) -> float:
    """Seconds for which it is still fresh; 0 when it is not."""
    return 0.0 if stored.no_cache else max(0.0, stored.lifetime - _age(stored, now))


def usable_on_error(stored: Stored, now: float) -> bool:
    """Whether it may be served at ``now`` because the origin failed: no answer, or 500, 502, 503, 504.

    RFC 5861 section 4; never with no-cache, must-revalidate or proxy-revalidate (sections 4.2.4 and 5.2.2.2).
    """
    if stored.no_cache or stored.must_revalidate:
        return False
    return stored.lifetime + max(stored.swr, stored.sie) > _age(stored, now)


def conditional_headers(stored: Stored) -> bytes:
    """The lines that make a request validate ``stored`` (section 4.3.1), each ended by CRLF; none without a validator.

    Validators that are not well formed, and so could smuggle a line of their own, are left out.
    """
    lines = b""
    if stored.etag is not None and _ENTITY_TAG.fullmatch(stored.etag):
        lines += b"if-none-match: " + stored.etag + b"\r\n"
    if stored.last_modified is not None and http_date(stored.last_modified, stored.stored_at) is not None:
        lines += b"if-modified-since: " + stored.last_modified + b"\r\n"
    return lines


def refreshed(
    stored: Stored,
    request_headers: Headers,
    response_headers: Headers,
    *,
    now: float,
    requested_at: float,
    shared: bool,
    authenticated: bool,
) -> Stored | None:
    """``stored`` after the origin answered 304 with ``response_headers`` (sections 3.2, 4.3.4).

    Fields of the 304 replace the stored ones except those of the connection and those that describe the body;
    freshness and age are those of the 304. None where it is to be deleted: the 304 no longer allows it to be kept (it
    still answers this request), or is about another response (``validates``: ask again without conditions).
    """
    update = [
        (name, value)
        for name, value in _storable_fields(list(response_headers))
        if name not in BODY_FIELDS and name != b"set-cookie"
    ]
    if not validates(stored, update):
        return None
    replaced = {name for name, _ in update} | {b"age", b"date"}  # of the 304 or of nothing, never the old ones
    merged = [(name, value) for name, value in stored.headers if name not in replaced] + update
    return store(
        request_headers,
        stored.status,
        merged,
        stored.body,
        now=now,
        requested_at=requested_at,
        shared=shared,
        authenticated=authenticated,
    )


def matches(stored: Stored, request_headers: Headers) -> bool:
    """Whether the request selects ``stored``: it has the same values in the fields that Vary names (section 4.1)."""
    if not stored.vary:
        return True
    request_headers = list(request_headers)
    return all(joined(request_headers, name) == value for name, value in stored.vary)


def _age(stored: Stored, now: float) -> float:
    """current_age of section 4.2.3. What is from the future is of no known age: a clock was set back. What replicas
    share may be from a clock that is a little ahead."""
    resident = now - stored.stored_at
    return math.inf if resident < -SKEW else stored.initial_age + max(0.0, resident)


def _initial_age(headers: Headers, now: float, requested_at: float) -> float:
    """corrected_initial_age of section 4.2.3."""
    date = first(headers, b"date")
    generated = http_date(date, now) if date is not None else None
    apparent = max(0.0, now - generated) if generated is not None else 0.0
    # Section 5.1: of a list the first member counts, one that is no number is ignored.
    claimed = (first(headers, b"age") or b"").split(b",", 1)[0].strip().decode("latin-1")
    return max(apparent, (delta_seconds(claimed) or 0) + max(0.0, now - requested_at))


def _lifetime(headers: Headers, directives: dict[str, str | None], now: float, *, shared: bool) -> float:
    """freshness_lifetime of section 4.2.1, without the heuristic one."""
    for name in ("s-maxage", "max-age") if shared else ("max-age",):
        if name in directives:
            return float(delta_seconds(directives[name]) or 0)
    expires = first(headers, b"expires")
    if expires is None:
        return 0.0
    until = http_date(expires, now)
    if until is None:  # section 5.3: an invalid date, "0" above all, lies in the past
        return 0.0
    date = first(headers, b"date")
    generated = http_date(date, now) if date is not None else None
    return min(max(0.0, until - (now if generated is None else generated)), float(LONGEST))


def _storable_fields(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields without those of the connection (section 3.1)."""
    named = {name.strip().lower() for name in (joined(headers, b"connection") or b"").split(b",")}
    return [(name, value) for name, value in headers if name not in CONNECTION_FIELDS and name not in named]


def _selecting(headers: Headers, request_headers: Headers) -> tuple[tuple[bytes, bytes | None], ...] | None:
    """The request's values of the fields that Vary names, or None if no later request can match (section 4.1)."""
    listed = (name.strip().lower() for name in (joined(headers, b"vary") or b"").split(b","))
    names = sorted({name for name in listed if name})
    if any(name == b"*" or not FIELD_NAME.fullmatch(name) for name in names):
        return None
    return tuple((name, joined(request_headers, name)) for name in names)


def validates(stored: Stored, update: Headers) -> bool:
    """Whether a 304 with these fields is about ``stored`` (section 4.3.4).

    Entity tags are compared weakly, as If-None-Match is (RFC 9110 section 13.1.2): proxies that compress weaken the
    tag of a 200 and not that of its 304.
    """
    tag = first(update, b"etag")
    if tag is not None and stored.etag is not None:
        mine, theirs = _ENTITY_TAG.fullmatch(stored.etag), _ENTITY_TAG.fullmatch(tag)
        return mine is not None and theirs is not None and mine[1] == theirs[1]
    modified = first(update, b"last-modified")
    return modified is None or stored.last_modified is None or modified == stored.last_modified
