"""The answer that most answers are: complete in one piece, with a plain length. Read without a parser's callbacks.

Whatever is in the least unusual is left to llhttp, which sees the same bytes then.
"""

from __future__ import annotations

import re

from .answer import Limits
from .protocol import WireResponse

__all__ = ["whole_answer"]

_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
_HEAD = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) " + _TEXT + rb"\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:" + _TEXT + rb"\r\n)++)\r\n"
)  # fmt: skip
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n")
_UNUSUAL = re.compile(
    rb"\r\n(?:transfer-encoding:|content-encoding:|upgrade:|(?:proxy-)?connection:(?![ \t]*keep-alive[ \t]*\r\n))"
)
_BODILESS = frozenset({b"204", b"304"})


def whole_answer(data: bytes, limits: Limits) -> WireResponse | None:
    """The answer to anything but HEAD that ``data`` is, all of it and nothing else, and that leaves the connection
    open; None when it may be something else."""
    head = _HEAD.match(data)
    if head is None:
        return None
    status, block = head[1], head[2]
    lowered = b"\r\n" + block.lower()
    length = _LENGTH.search(lowered)
    if (
        length is None
        or status in _BODILESS
        or lowered.count(b"\r\ncontent-length:") != 1
        or _UNUSUAL.search(lowered) is not None
    ):
        return None
    size, end = int(length[1]), head.end()
    if len(data) != end + size or size > limits.max_body or end > limits.max_head:
        return None
    if block.count(b"\r\n") > limits.max_headers:
        return None
    return WireResponse(int(status), [], data[end:], block)
