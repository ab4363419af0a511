"""Signatures of Standard Webhooks 1.0.0: ``v1`` (HMAC-SHA-256) and ``v1a`` (Ed25519, RFC 8032)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from cryptography.exceptions import InvalidSignature as WrongSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import BffError

__all__ = ["InvalidSignature", "Signer", "Verifier", "new_private_key", "new_secret", "public_key"]

SECRET, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
SHORTEST, LONGEST = 24, 64  # bytes of a secret
SEED, BOTH = 32, 64  # bytes of a private key: the seed, or the seed and the public key after it
MOST_SIGNATURES = 20
TOLERANCE = 300.0


class InvalidSignature(BffError):
    """A webhook is not what its sender signed, or not of now."""


class Signer:
    """Signs with each of ``keys`` (``whsec_…`` gives ``v1``, ``whsk_…`` gives ``v1a``), so that receivers which know
    any of them are content: that is how keys are changed. Raises ``ValueError`` for what is no key, or for none."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._sign = [_signing(key) for key in keys]
        if not self._sign:
            raise ValueError("without a key nothing can be signed")

    def sign(self, event_id: str, timestamp: int, body: bytes) -> str:
        """The value of ``webhook-signature``; ``timestamp`` is Unix time in whole seconds. Raises ``ValueError`` when
        ``event_id`` has a dot: what is signed could then be read in two ways."""
        if "." in event_id:
            raise ValueError(f"the id of an event has no dot: {event_id!r}")
        content = f"{event_id}.{timestamp}.".encode() + body
        return " ".join([sign(content) for sign in self._sign])


class Verifier:
    """Verifies what was signed with one of ``keys`` (``whsec_…``, ``whpk_…``), at most ``tolerance`` seconds ago or
    ahead. Raises ``ValueError`` for what is no key, or for none."""

    def __init__(
        self, keys: Iterable[str], *, tolerance: float = TOLERANCE, clock: Callable[[], float] = time.time
    ) -> None:
        self._matches = [_matching(key) for key in keys]
        self._tolerance = tolerance
        self._clock = clock
        if not self._matches:
            raise ValueError("without a key nothing can be verified")

    def verify(self, body: bytes, headers: Mapping[str, str]) -> str:
        """The event's id, for telling a repetition. ``headers`` are those of the request, in any case. Raises
        ``InvalidSignature``."""
        named = {name.lower(): value for name, value in headers.items()}
        try:
            event_id, sent, signatures = (named[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        except KeyError as missing:
            raise InvalidSignature(f"there is no header {missing}") from None
        if not (sent.isascii() and sent.isdigit()) or len(sent) > 12 or "." in event_id:  # noqa: PLR2004 - digits
            raise InvalidSignature("webhook-id or webhook-timestamp is not of the right form")
        if abs(self._clock() - int(sent)) > self._tolerance:
            raise InvalidSignature("too old, or of the future")
        content = f"{event_id}.{sent}.".encode() + body
        given = [_given(signature) for signature in signatures.split(" ", MOST_SIGNATURES)[:MOST_SIGNATURES]]
        if not any(matches(content, *signature) for matches in self._matches for signature in given):
            raise InvalidSignature("no signature is right")
        return event_id


def new_secret() -> str:
    """A secret for ``v1``, known to both sides: 32 random bytes."""
    return SECRET + base64.b64encode(secrets.token_bytes(32)).decode()


def new_private_key() -> str:
    """A key for ``v1a`` that only the sender knows; receivers get its ``public_key``."""
    return _private(Ed25519PrivateKey.generate().private_bytes_raw())


def public_key(private: str) -> str:
    """``whpk_…`` of ``whsk_…``; raises ``ValueError`` for anything else."""
    return PUBLIC + base64.b64encode(_load_private(private).public_key().public_bytes_raw()).decode()


def _private(seed: bytes) -> str:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return PRIVATE + base64.b64encode(seed + public).decode()


def _signing(key: str) -> Callable[[bytes], str]:
    if key.startswith(PRIVATE):
        private = _load_private(key)
        return lambda content: "v1a," + base64.b64encode(private.sign(content)).decode()
    secret = _load_secret(key)
    return lambda content: "v1," + base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode()


def _matching(key: str) -> Callable[[bytes, str, bytes], bool]:
    if key.startswith(PUBLIC):
        public = _load_public(key)

        def matches(content: bytes, version: str, signature: bytes) -> bool:
            try:
                public.verify(signature, content)
            except WrongSignature:
                return False
            return version == "v1a"

        return matches
    secret = _load_secret(key)
    return lambda content, version, signature: (
        hmac.compare_digest(hmac.digest(secret, content, hashlib.sha256), signature) and version == "v1"
    )


def _given(signature: str) -> tuple[str, bytes]:
    version, _, value = signature.partition(",")
    try:
        return version, base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return "", b""


def _load_secret(key: str) -> bytes:
    secret = _decode(key, SECRET)
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"a secret has {SHORTEST} to {LONGEST} bytes, this one {len(secret)}")
    return secret


def _load_private(key: str) -> Ed25519PrivateKey:
    raw = _decode(key, PRIVATE)
    if len(raw) not in (SEED, BOTH):
        raise ValueError(f"a private key has {SEED} or {BOTH} bytes, this one {len(raw)}")
    private = Ed25519PrivateKey.from_private_bytes(raw[:SEED])
    if raw[SEED:] not in (b"", private.public_key().public_bytes_raw()):
        raise ValueError("a private key whose second half is not its public key")
    return private


def _load_public(key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(_decode(key, PUBLIC))


def _decode(key: str, prefix: str) -> bytes:
    if not key.startswith(prefix):
        raise ValueError(f"not a key: it begins neither with {SECRET} nor as its kind does ({prefix})")
    try:
        return base64.b64decode(key.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"not a key: no base64 after {prefix}") from None
