"""Entity tags and the conditional GET (RFC 9110 sections 8.8.3 and 13.1.2)."""

from __future__ import annotations

import re
from binascii import b2a_base64
from hashlib import blake2b

__all__ = ["entity_tag", "matching"]

_TAG = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
LONGEST = 2048
SUFFIXES = frozenset({b'-zstd"', b'-br"', b'-gzip"'})
"""How the tag of content in a coding ends, so that it is another representation's (RFC 9110 section 8.8.3.3)."""


def entity_tag(content: bytes) -> bytes:
    """A strong validator: the same on every replica, another when one byte is another."""
    # Others write what stands in pages: a faster hash without a key, of which two texts with one tag can be made by
    # hand, would have clients keep the one for the other.
    return b'"%b"' % b2a_base64(blake2b(content, digest_size=15).digest(), newline=False)


def matching(condition: bytes, tag: bytes) -> bytes | None:
    """What of ``If-None-Match`` names the content with ``tag``, in whichever coding the client has it; None when
    nothing does. The comparison is weak; ``*`` is any content."""
    if len(condition) > LONGEST:
        return None  # whoever asks with so many is sent the content, which costs less than to look
    if condition.strip() == b"*":
        return tag
    for found in _TAG.finditer(condition):
        opaque: bytes = found[1]
        if opaque == tag or (opaque.startswith(tag[:-1]) and opaque[len(tag) - 1 :] in SUFFIXES):
            return opaque
    return None
