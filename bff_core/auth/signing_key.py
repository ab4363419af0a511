"""A private key that the gateway signs with, and the algorithm that goes with it (RFC 7518 section 3.1, RFC 8037)."""

from __future__ import annotations

import json

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from ..errors import DeclarationError

__all__ = ["read_signing_key"]

_KINDS: tuple[type[Key], ...] = (RSAKey, ECKey, OKPKey)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "Ed448": "EdDSA"}


def read_signing_key(text: str, what: str) -> tuple[Key, str]:
    """The key in ``text`` (PEM or JWK) and its JWS algorithm; ``what`` is what it was given as. Raises
    ``DeclarationError``."""
    for kind in _KINDS:
        try:
            key = kind.import_key(json.loads(text) if text.lstrip().startswith("{") else text)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
        algorithm = "RS256" if isinstance(key, RSAKey) else _CURVES.get(str(key.as_dict().get("crv")))
        if key.is_private and algorithm is not None:
            return key, algorithm
    raise DeclarationError(
        f"{what} is no private key that can sign: RSA, P-256, P-384, P-521, Ed25519 or Ed448, as PEM or JWK"
    )
