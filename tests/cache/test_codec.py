"""Stored responses as bytes and back; anything else is refused."""

from __future__ import annotations

import math
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.cache import Stored, decode, encode
from bff_core.cache.codec import MAGIC
from tests.cache.responses import anything, stored


def sealed(content: bytes) -> bytes:
    """With the right check sum, so that what is wrong is the content."""
    return content + struct.pack("!I", zlib.crc32(content))


@given(anything)
def test_round_trip(entry: Stored) -> None:
    """What went in comes out."""
    assert decode(encode(entry)) == entry


@given(st.binary())
def test_garbage(data: bytes) -> None:
    """Bytes that were never encoded decode to None, with the right beginning and check sum too."""
    assert decode(data) is None
    assert decode(MAGIC + data) is None


@given(st.binary(max_size=120))
def test_sealed_garbage(data: bytes) -> None:
    """Bytes that pass for an entry's at both ends make one, or None, never an error."""
    found = decode(sealed(MAGIC + b"\x01" + data))
    assert found is None or decode(encode(found)) == found


@given(anything, st.data())
def test_changed_bytes(entry: Stored, data: st.DataObject) -> None:
    """One byte changed, cut off or put behind, and it is refused."""
    good = encode(entry)
    at = data.draw(st.integers(0, len(good) - 1))
    changed = bytes([good[at] ^ data.draw(st.integers(1, 255))])
    assert decode(good[:at] + changed + good[at + 1 :]) is None
    assert decode(good[:at]) is None
    assert decode(good + b"\0") is None


@pytest.mark.parametrize(
    "entry",
    [
        stored(headers=((b"x", b"1\r\ny: 2"),)),
        stored(headers=((b"x\n", b"1"),)),
        stored(headers=((b"x", b"\0"),)),
        stored(status=99),
        stored(status=600),
        stored(lifetime=math.inf),
        stored(lifetime=math.nan),
        stored(initial_age=-1.0),
        stored(stored_at=math.nan),
    ],
)
def test_senseless_entries(entry: Stored) -> None:
    """Fields that break the line, impossible statuses and times are refused, however well they are encoded."""
    assert decode(encode(entry)) is None


@pytest.mark.parametrize(
    ("at", "byte"),
    [(4, 2), (5, 4), (5, 0x80), (48, 0xFF), (52, 0xFF), (51, 200)],
    ids=["version", "flag", "high flag", "many headers", "many vary", "more headers than there are"],
)
def test_wrong_heads(at: int, byte: int) -> None:
    """Another version, unknown flags and counts that cannot be are refused under a right check sum."""
    content = bytearray(encode(stored())[:-4])
    assert decode(sealed(bytes(content))) == stored()
    content[at] = byte
    assert decode(sealed(bytes(content))) is None


def test_lengths_must_add_up() -> None:
    """Bytes that no part owns are refused under a right check sum."""
    content = encode(stored())[:-4]
    assert decode(sealed(content + b"x")) is None
    assert decode(sealed(content[:-1])) is None


def test_is_compact() -> None:
    """An entry takes its content and little more."""
    assert len(encode(stored(body=bytes(10_000)))) < 10_000 + 200
