"""Request id and W3C Trace Context: taken in when well formed, made when not, passed on to the services."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["Trace", "from_span", "read_trace"]

_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:+/=-]{1,128}")
_TRACESTATE = re.compile(rb"[\x20-\x7e]{1,512}")
ODD = "13579bdf"  # the last hexadecimal digit of flags with the bit for sampled
SPAN_AT = len("traceparent: 00-") + 32 + 1


@dataclass(slots=True)
class Trace:
    """One request's place in its trace. ``headers`` is the block of lines that goes with every call to a service;
    ``timeout`` is the client's own ``grpc-timeout``, unread; ``parent_id`` the span of who asks, if it said so."""

    request_id: str
    trace_id: str
    span_id: str
    headers: bytes
    timeout: bytes | None
    sampled: bool = False
    parent_id: str | None = None


class _Randomness:
    """Random bytes from the operating system, fetched many at a time; a forked process gets its own."""

    def __init__(self) -> None:
        self._hex = ""
        self._at = 0
        os.register_at_fork(after_in_child=self._forget)

    def take(self, digits: int) -> str:
        """So many hexadecimal digits."""
        if self._at + digits > len(self._hex):
            self._hex, self._at = os.urandom(4096).hex(), 0
        self._at += digits
        return self._hex[self._at - digits : self._at]

    def _forget(self) -> None:
        self._hex = ""
        self._at = 0


_random = _Randomness()


def read_trace(headers: list[tuple[bytes, bytes]], below: int = 0) -> Trace:
    """The trace of a request with these headers (names in lower case).

    It is sampled when its caller says so; without one, when the lower half of its id is ``below`` that.
    """
    request_id = traceparent = tracestate = timeout = None
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value
        elif name == b"traceparent":
            traceparent = value
        elif name == b"tracestate":
            tracestate = value
        elif name == b"grpc-timeout":
            timeout = value
    digits = _random.take(48)
    span_id = digits[:16]
    parent = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if parent is not None and parent[1] != b"0" * 32 and parent[2] != b"0" * 16:
        trace_id, flags, parent_id = parent[1].decode(), parent[3].decode(), parent[2].decode()
    else:
        trace_id, tracestate, parent_id = digits[16:], None, None
        flags = "01" if below and int(trace_id[16:], 16) < below else "00"
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        request_id = trace_id.encode()
    block = b"traceparent: 00-%s-%s-%s\r\nx-request-id: %s\r\n" % (
        trace_id.encode(),
        span_id.encode(),
        flags.encode(),
        request_id,
    )
    if tracestate is not None and _TRACESTATE.fullmatch(tracestate):
        block += b"tracestate: %s\r\n" % tracestate
    return Trace(request_id.decode(), trace_id, span_id, block, timeout, flags[1] in ODD, parent_id)


def from_span(headers: bytes, span_id: str) -> bytes:
    """The block ``headers`` of a trace, with ``span_id`` for the span that asks."""
    return headers[:SPAN_AT] + span_id.encode() + headers[SPAN_AT + 16 :]
