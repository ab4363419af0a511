"""Secrets at rest: sealed with a key that is not in the database."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import SettingsError

__all__ = ["Sealer"]

KEY_BYTES = 32
NONCE_BYTES = 12


class Sealer:
    """AES-256-GCM with the first of ``keys`` (32 bytes as base64url each); what another of them sealed can be opened.

    What is sealed is bound to its ``place`` (the row it stands in): moved to another it cannot be opened. Raises
    ``SettingsError`` for what is no key, without repeating it.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._ciphers = [AESGCM(_key(key)) for key in keys]
        if not self._ciphers:
            raise SettingsError("webhooks need a key of 32 bytes as base64url, to seal secrets with")

    def seal(self, text: str, place: str) -> bytes:
        """``text``, sealed."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, text.encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> str:
        """The text. Raises ``SettingsError`` when none of the keys sealed it, for this place."""
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], place.encode()).decode()
            except InvalidTag:
                continue
        raise SettingsError("a webhook secret was sealed with another key; keep the old key after the new one")


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            "a webhook key is 32 bytes as base64url; make one with: "
            'python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
        )
    return key
