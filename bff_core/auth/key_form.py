"""The form of API keys: ``bff_live_`` or ``bff_test_``, 30 characters of base 62, and a CRC-32 of these in 6 more.

The checksum is no security: it tells typing errors and noise from keys without a look-up, and lets secret scanners
recognise a leaked key (GitHub's form).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from typing import Literal

from pydantic import SecretStr

from ..errors import SettingsError

__all__ = ["MAX_KEY", "KeyDigests", "issued", "new_api_key", "well_formed"]

SHORTEST_PEPPER = 32

MAX_KEY = 256
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_OURS = re.compile(rb"bff_(?:live|test)_")
_FORM = re.compile(rb"(bff_(?:live|test)_[0-9A-Za-z]{30})([0-9A-Za-z]{6})")
_VISIBLE = re.compile(rb"[\x21-\x7e]{1,%d}" % MAX_KEY)


def new_api_key(environment: Literal["live", "test"] = "live") -> str:
    """A new key with 178 bits of randomness. Show it once, keep its SHA-256 digest."""
    head = f"bff_{environment}_" + "".join(secrets.choice(ALPHABET) for _ in range(30))
    return head + _checksum(head.encode())


def well_formed(key: bytes) -> bool:
    """Whether it is worth a look-up. A key that begins as ours must have the whole form; others need only be visible
    ASCII of at most 256 bytes."""
    if _OURS.match(key):
        found = _FORM.fullmatch(key)
        return found is not None and found[2] == _checksum(found[1]).encode()
    return _VISIBLE.fullmatch(key) is not None


def issued(key: bytes) -> bool:
    """Whether ``new_api_key`` may have made it."""
    found = _FORM.fullmatch(key)
    return found is not None and found[2] == _checksum(found[1]).encode()


class KeyDigests:
    """HMAC-SHA-256 under a ``pepper`` that is not where the digests are: who has these has no key, and cannot tell
    whether one is right. Keys may have been digested under one of ``old`` too. Raises ``SettingsError``."""

    def __init__(self, pepper: SecretStr, old: Sequence[SecretStr] = ()) -> None:
        self._peppers = [each.get_secret_value().encode() for each in (pepper, *old)]
        if any(len(each) < SHORTEST_PEPPER for each in self._peppers):
            raise SettingsError(
                f"the pepper of API keys needs at least {SHORTEST_PEPPER} characters; make one with: "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )

    def current(self, key: bytes) -> bytes:
        """The digest under which a new key is kept."""
        return hmac.digest(self._peppers[0], key, hashlib.sha256)

    def all(self, key: bytes) -> list[bytes]:
        """The digests under which it may be kept."""
        return [hmac.digest(pepper, key, hashlib.sha256) for pepper in self._peppers]


def _checksum(head: bytes) -> str:
    number, digits = zlib.crc32(head), ""
    for _ in range(6):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
