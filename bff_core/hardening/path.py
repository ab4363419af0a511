"""Paths that mean one thing to everybody who reads them.

A gateway decides by the path, the service behind it acts by the path; whoever can make the two read it differently
walks around the decision. So a path with more than one reading is refused, not mended.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

__all__ = ["path_fault"]

# What nearly every request has: unreserved characters, sub-delims, ":" and "@" (RFC 3986 section 3.3) in segments that
# are neither empty nor begin with a dot.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*+)*+/?")
_ALLOWED = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*+")
_ENCODED_DELIMITER = re.compile(rb"%(?:2f|5c)", re.IGNORECASE)
# A dot segment, also one that hides behind a path parameter, as in "/..;x/".
_DOT_SEGMENT = re.compile(rb"/(?:\.|%2e){1,2}(?:;[^/]*+)?(?:/|$)", re.IGNORECASE)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def path_fault(raw: bytes) -> str | None:
    """What is wrong with a request's path as it was sent (percent-encoded, no query), None when it has one reading."""
    if _PLAIN.fullmatch(raw):
        return None
    if not raw.startswith(b"/"):
        return "does not begin with a slash"
    if not _ALLOWED.fullmatch(raw):
        return "holds characters that must be percent-encoded, or percent signs that encode nothing"
    if b"//" in raw:
        return "has an empty segment"
    if _ENCODED_DELIMITER.search(raw):
        return "holds an encoded slash or backslash"
    if _DOT_SEGMENT.search(raw):
        return "has a dot segment"
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return "holds control characters" if _CONTROL.search(text) else None
