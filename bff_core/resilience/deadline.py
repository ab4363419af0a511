"""Deadlines on the wire: the ``grpc-timeout`` header, time left rather than an instant, so that clocks need not agree
(gRPC over HTTP/2, "Requests")."""

from __future__ import annotations

import re

__all__ = ["HEADER", "format_timeout", "parse_timeout"]

HEADER = b"grpc-timeout"
_FORM = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MOST = 99_999_999


def parse_timeout(value: bytes) -> float | None:
    """Seconds left according to the header's value; None when it is not of that form."""
    found = _FORM.fullmatch(value)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def format_timeout(seconds: float) -> bytes:
    """The header's line for ``seconds`` left, in milliseconds, rounded down but never 0."""
    return b"grpc-timeout: %dm\r\n" % min(_MOST, max(1, int(seconds * 1000)))
