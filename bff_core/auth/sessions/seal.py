"""Sealing what is kept in a store or a cookie (AES-256-GCM), with keys that can be changed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import SettingsError

__all__ = ["Sealer"]

SHORTEST = 32
NONCE = 12
NUMBER = 4


class Sealer:
    """Seals with the first of ``keys`` and opens with any: a new one is appended on every replica, then moved to the
    front, and the old one stays as long as what it sealed lives. A key is text of 32 characters or more. Raises
    ``SettingsError`` for a shorter one.

    Each ``context`` has a key of its own, derived from it. Where the context is a session's identifier, what is in the
    store cannot be opened with our keys alone, nor be put in another session's place.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if isinstance(keys, str) or not keys or any(len(key) < SHORTEST for key in keys):
            raise SettingsError(f"session keys are texts of at least {SHORTEST} characters, one or more of them")
        masters = [blake2b(key.encode(), digest_size=32, person=b"bff master").digest() for key in keys]
        self._first = masters[0]
        self._masters = {_number(master): master for master in reversed(masters)}

    def seal(self, context: str, value: bytes) -> bytes:
        """``value``, which only who has key and context can read, and nobody change."""
        nonce = secrets.token_bytes(NONCE)
        return _number(self._first) + nonce + _cipher(self._first, context).encrypt(nonce, value, None)

    def open(self, context: str, sealed: bytes) -> bytes | None:
        """What was sealed, None when it was not sealed here, or for another context, or has been changed."""
        master = self._masters.get(sealed[:NUMBER])
        if master is None:
            return None
        try:
            return _cipher(master, context).decrypt(sealed[NUMBER : NUMBER + NONCE], sealed[NUMBER + NONCE :], None)
        except (InvalidTag, ValueError):
            return None


def _number(master: bytes) -> bytes:
    """By which a key is found again; tells nothing about it."""
    return blake2b(master, digest_size=NUMBER, person=b"bff number").digest()


def _cipher(master: bytes, context: str) -> AESGCM:
    return AESGCM(blake2b(context.encode(), digest_size=32, key=master, person=b"bff seal").digest())
