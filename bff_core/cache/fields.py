"""What the header fields say that caching is decided by (RFC 9111 sections 1.2 and 5, RFC 9110 section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["FIELD_NAME", "LONGEST", "Headers", "delta_seconds", "first", "joined", "parse_cache_control"]

Headers = Iterable[tuple[bytes, bytes]]

LONGEST = 2**31  # section 1.2.2: what a delta-seconds too large to represent counts as
DELTAS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "max-stale", "min-fresh"})

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"((?:[^"\\]|\\.)*)"'
_DIRECTIVE = re.compile(rb"(" + _TOKEN + rb")[ \t]*(?:=[ \t]*(?:" + _QUOTED + rb"|([^,]*)))?[^,]*", re.DOTALL)
_SEPARATOR = re.compile(rb"[ \t,]*")
_GARBAGE = re.compile(_QUOTED + rb"[^,]*|[^,]+", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
FIELD_NAME = re.compile(_TOKEN)
_DIGITS = re.compile(r"[0-9]+")


def parse_cache_control(value: bytes) -> dict[str, str | None]:
    """The directives of a Cache-Control value (section 5.2), by lower-case name.

    Arguments may be tokens or quoted strings; a directive without one maps to None. Of a directive given twice the
    first counts (section 4.2.1). Whatever is no directive is passed over up to the next comma. Spans above
    2147483648 are that (section 1.2.2).
    """
    directives: dict[str, str | None] = {}
    position = 0
    while True:
        separator = _SEPARATOR.match(value, position)
        position = separator.end() if separator else position
        if position >= len(value):
            return directives
        found = _DIRECTIVE.match(value, position)
        if found is None:
            garbage = _GARBAGE.match(value, position)
            position = garbage.end() if garbage else len(value)
            continue
        position = found.end()
        name = found[1].decode("ascii").lower()
        if name in directives:
            continue
        argument: str | None = None
        if found[2] is not None:
            argument = _ESCAPED.sub(rb"\1", found[2]).decode("latin-1")
        elif found[3] is not None:
            argument = found[3].strip().decode("latin-1")
        if argument is not None and name in DELTAS and (seconds := delta_seconds(argument)) == LONGEST:
            argument = str(seconds)
        directives[name] = argument


def first(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first field of this name, or None if there is none."""
    for key, value in headers:
        if key == name:
            return value.strip(b" \t")
    return None


def joined(headers: Headers, name: bytes) -> bytes | None:
    """All values of a field as one list (RFC 9110 section 5.3), or None if there is none."""
    values = [value.strip(b" \t") for key, value in headers if key == name]
    return b", ".join(values) if values else None


def delta_seconds(argument: str | None) -> int | None:
    """A delta-seconds (section 1.2.2), or None if it is none."""
    if argument is None or not _DIGITS.fullmatch(argument):
        return None
    digits = argument.lstrip("0")
    return LONGEST if len(digits) > len(str(LONGEST)) else min(int(digits or "0"), LONGEST)
