"""Stored responses as bytes, for a store outside this process.

A fixed head, the lengths of all parts, the parts one after the other, the CRC-32 of all that. Bytes of another
version, cut short, changed or never written by this module decode to None.
"""

from __future__ import annotations

import math
import struct
import zlib

from .rfc9111 import Stored

__all__ = ["decode", "encode"]

MAGIC = b"BFFC"
VERSION = 1
NO_CACHE = 1
MUST_REVALIDATE = 2
ABSENT = 0xFFFFFFFF
STATUSES = range(100, 600)

_HEAD = struct.Struct("!4sBBH5dII")  # magic, version, flags, status, five times, counts of headers and of vary
_CRC = struct.Struct("!I")
_LINE_BREAKING = (b"\r", b"\n", b"\0")


def encode(stored: Stored) -> bytes:
    """``stored`` as bytes."""
    parts: list[bytes | None] = [part for pair in stored.headers for part in pair]
    parts += [part for pair in stored.vary for part in pair]
    parts += [stored.etag, stored.last_modified, stored.body]
    head = _HEAD.pack(
        MAGIC,
        VERSION,
        (NO_CACHE if stored.no_cache else 0) | (MUST_REVALIDATE if stored.must_revalidate else 0),
        stored.status,
        stored.stored_at,
        stored.initial_age,
        stored.lifetime,
        stored.swr,
        stored.sie,
        len(stored.headers),
        len(stored.vary),
    )
    lengths = struct.pack(f"!{len(parts)}I", *(ABSENT if part is None else len(part) for part in parts))
    content = b"".join([head, lengths, *(part for part in parts if part is not None)])
    return content + _CRC.pack(zlib.crc32(content))


def decode(data: bytes) -> Stored | None:
    """What ``encode`` made ``data`` of, or None. Header fields that break the line are refused too."""
    end = len(data) - _CRC.size
    if end < _HEAD.size or not data.startswith(MAGIC):
        return None
    if _CRC.unpack_from(data, end)[0] != zlib.crc32(memoryview(data)[:end]):
        return None
    _, version, flags, status, *times, headers, vary = _HEAD.unpack_from(data)
    if version != VERSION or flags & ~(NO_CACHE | MUST_REVALIDATE) or status not in STATUSES:
        return None
    if not all(math.isfinite(time) for time in times) or min(times[1:]) < 0:
        return None
    parts = _parts(data, 2 * (headers + vary) + 3, end)
    if parts is None:
        return None
    *pairs, etag, last_modified, body = parts
    names_and_values = list(zip(pairs[::2], pairs[1::2], strict=True))
    kept: list[tuple[bytes, bytes]] = []
    for name, value in names_and_values[:headers]:
        if name is None or value is None or any(byte in name or byte in value for byte in _LINE_BREAKING):
            return None
        kept.append((name, value))
    selecting: list[tuple[bytes, bytes | None]] = []
    for name, value in names_and_values[headers:]:
        if name is None:
            return None
        selecting.append((name, value))
    if body is None:
        return None
    stored_at, initial_age, lifetime, swr, sie = times
    return Stored(
        status=status,
        headers=tuple(kept),
        body=body,
        vary=tuple(selecting),
        stored_at=stored_at,
        initial_age=initial_age,
        lifetime=lifetime,
        swr=swr,
        sie=sie,
        no_cache=bool(flags & NO_CACHE),
        must_revalidate=bool(flags & MUST_REVALIDATE),
        etag=etag,
        last_modified=last_modified,
    )


def _parts(data: bytes, count: int, end: int) -> list[bytes | None] | None:
    """The parts behind the head, or None unless their lengths add up to exactly what is there."""
    position = _HEAD.size + 4 * count
    if position > end:
        return None
    parts: list[bytes | None] = []
    for length in struct.unpack_from(f"!{count}I", data, _HEAD.size):
        if length == ABSENT:
            parts.append(None)
        elif position + length > end:
            return None
        else:
            parts.append(data[position : position + length])
            position += length
    return parts if position == end else None
