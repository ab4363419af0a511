"""Opaque tokens, sealed with AES-256-GCM: they say where a client stands, and only to whom they were given for."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import DeclarationError

__all__ = ["Sealer", "Token", "new_key"]

FORMAT = b"\x01"
KEY, KEY_ID, NONCE, NAME = 32, 4, 12, 16
NOBODY = bytes(NAME)


@dataclass(frozen=True, slots=True)
class Token:
    """``state`` names the client's state, ``parent`` the one before, which its presentation makes superfluous (zeros
    for none); ``hour`` is when the state was stored, in hours of Unix time."""

    state: bytes
    parent: bytes = NOBODY
    hour: int = 0


class Sealer:
    """Seals with the first key, opens with any: to rotate, put a new key in front and take the old one away later.

    Keys are 32 bytes. ``bound`` is what a token is good for; one sealed for something else does not open.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY for key in keys):
            raise DeclarationError(f"keys to seal tokens with are {KEY} bytes long, and there is at least one")
        self._ciphers = {hashlib.sha256(key).digest()[:KEY_ID]: AESGCM(key) for key in keys}
        self._newest = next(iter(self._ciphers))

    def seal(self, token: Token, bound: bytes) -> str:
        """The token as text, 92 characters."""
        nonce = secrets.token_bytes(NONCE)
        plain = token.state + token.parent + token.hour.to_bytes(4, "big")
        head = FORMAT + self._newest
        sealed = self._ciphers[self._newest].encrypt(nonce, plain, head + bound)
        return urlsafe_b64encode(head + nonce + sealed).decode("ascii").rstrip("=")

    def is_newest(self, text: str) -> bool:
        """Whether a token is sealed with the key that seals now."""
        return text.startswith(urlsafe_b64encode(FORMAT + self._newest + b"\0")[:6].decode("ascii"))

    def open(self, text: str, bound: bytes) -> Token | None:
        """What was sealed; None when it cannot be trusted, for whatever reason."""
        try:
            raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (Error, ValueError):
            return None
        head, nonce, sealed = raw[: 1 + KEY_ID], raw[1 + KEY_ID : 1 + KEY_ID + NONCE], raw[1 + KEY_ID + NONCE :]
        cipher = self._ciphers.get(head[1:])
        if head[:1] != FORMAT or cipher is None or len(nonce) != NONCE:
            return None
        try:
            plain = cipher.decrypt(nonce, sealed, head + bound)
        except InvalidTag:
            return None
        return Token(plain[:NAME], plain[NAME : 2 * NAME], int.from_bytes(plain[2 * NAME :], "big"))


def new_key() -> bytes:
    """A random key."""
    return secrets.token_bytes(KEY)
