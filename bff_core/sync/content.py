"""Versions and keys: what names an item and its content in a client's view. No clock is involved."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error

__all__ = ["key_of", "read_version", "show_version", "version_of"]

SIZE = 8
UNKNOWN = 0


def key_of(item_id: str) -> int:
    """64 bits that stand for the item in a view."""
    return int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=SIZE).digest(), "big")


def version_of(content: bytes) -> int:
    """The version of an item with this serialized content: 64 bits of its SHA-256, never 0."""
    return int.from_bytes(hashlib.sha256(content).digest()[:SIZE], "big") or 1


def show_version(version: int) -> str:
    """A version as clients see it: 11 characters."""
    return urlsafe_b64encode(version.to_bytes(SIZE, "big")).decode("ascii").rstrip("=")


def read_version(text: str) -> int:
    """The version a client shows; 0, which no item has, for what is none."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (Error, ValueError):
        return UNKNOWN
    return int.from_bytes(raw, "big") if len(raw) == SIZE else UNKNOWN
