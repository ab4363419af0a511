"""JSON that costs more than its size: nested without end, or crumbled into a hundred thousand members."""

from __future__ import annotations

import re

__all__ = ["is_utf8", "json_fault"]

# One that never ends takes all the rest with it: tried again at each further quote, it would cost the square.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def is_utf8(body: bytes) -> bool:
    """Whether a JSON text is not in UTF-16 or UTF-32, which some parsers take (RFC 8259 section 8.1): its first
    character is ASCII, or a byte order mark."""
    return b"\0" not in body[:4] and not body.startswith((b"\xff\xfe", b"\xfe\xff"))


def json_fault(body: bytes, max_depth: int, max_members: int) -> str | None:
    """What is too much in a JSON text, None when nothing is. Linear in its length; whether it *is* JSON, the parser
    says, which stops where this reading stops being exact."""
    # Upper bounds first: nearly every body is far below both.
    deep = body.count(b"[") + body.count(b"{") > max_depth
    many = body.count(b",") >= max_members
    if not deep and not many:
        return None
    bare = _STRING.sub(b"", body)
    if many and bare.count(b",") >= max_members:
        return f"has more than {max_members} members"
    depth = 0
    for bracket in _BRACKET.findall(bare) if deep else ():
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            return f"is nested deeper than {max_depth} levels"
    return None
