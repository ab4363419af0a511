"""An issuer's public keys (RFC 7517): fetched when needed, kept, renewed when they rotate."""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from ..errors import ServiceError
from .ask import Asked
from .expiring import cannot_verify
from .jwt import BadToken, Token

__all__ = ["JwksCache", "Keys", "check_signature"]

log = structlog.get_logger("bff.auth")
TTL = 600.0
COOLDOWN = 15.0
RETRY = 1.0
TIMEOUT = 2.0
MAX_KEYS = 64
# No "oct": what is published is no secret, and an HMAC under it proves nothing.
KINDS: dict[str, type[Key]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class Keys:
    """The keys of one publication by which signatures are verified."""

    __slots__ = ("_keys", "prints")

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = list(keys)
        self.prints = {(key.kid, key.thumbprint()) for key in keys}

    def find(self, kid: str | None, algorithm: JWSAlgModel) -> Key | None:
        """The key called ``kid`` if it may be used with ``algorithm``; without a ``kid`` the one key that may, if there
        are not several."""
        usable = [key for key in self._keys if _fits(key, algorithm)]
        if kid is not None:
            return next((key for key in usable if key.kid == kid), None)
        return usable[0] if len(usable) == 1 else None


class JwksCache:
    """The keys published at a URL.

    They are renewed in the background every ten minutes; the old ones go on being used while the issuer does not
    answer. A key that is not among them makes them be fetched at once, but no more often than every fifteen seconds,
    whatever clients send. ``changed`` is called when other keys have come.
    """

    def __init__(
        self, asked: Asked, changed: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._asked = asked
        self._changed = changed
        self._clock = clock
        self._keys: Keys | None = None
        self._fetched = self._tried = float("-inf")
        self._failed = False
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: JWSAlgModel) -> Key | None:
        """The key, None when the issuer publishes none such. Raises a 503 problem when that cannot be told now."""
        if self._keys is None:
            await self._renew(RETRY)
        elif self._clock() - self._fetched >= TTL:
            self._start(COOLDOWN)
        if self._keys is None:
            raise cannot_verify()
        key = self._keys.find(kid, algorithm)
        if key is not None:
            return key
        await self._renew(COOLDOWN)
        key = self._keys.find(kid, algorithm)
        if key is None and self._failed:
            # It may be a new key; who knows as long as the issuer does not say.
            raise cannot_verify()
        return key

    async def _renew(self, cooldown: float) -> None:
        renewal = self._start(cooldown)
        if renewal is not None:
            await asyncio.shield(renewal)

    def _start(self, cooldown: float) -> asyncio.Task[None] | None:
        """The renewal under way, a new one if that is allowed by now."""
        if self._renewal is None and self._clock() - self._tried >= cooldown:
            self._tried = self._clock()
            self._renewal = asyncio.get_running_loop().create_task(self._fetch())
        return self._renewal

    async def _fetch(self) -> None:
        try:
            response = await self._asked.ask("GET", b"accept: application/json\r\n", b"", TIMEOUT)
            if response.status != HTTPStatus.OK:
                raise ValueError(f"status {response.status}")
            keys = Keys(_read(response.body))
        except (ServiceError, ValueError, RecursionError) as error:
            self._failed = True
            log.warning("jwks.failed", reason=str(error), kept=self._keys is not None)
        else:
            self._failed = False
            self._fetched = self._clock()
            if self._keys is None or keys.prints != self._keys.prints:
                self._keys = keys
                self._changed()
        finally:
            self._renewal = None

    async def aclose(self) -> None:
        """Close the connection to the issuer."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        await self._asked.aclose()


async def check_signature(token: Token, algorithm: JWSAlgModel | None, jwks: JwksCache) -> None:
    """Raises ``BadToken`` when ``token`` is not signed by ``algorithm`` (None: one that is not wanted) with a key of
    ``jwks``, and a 503 problem when that cannot be told now."""
    if algorithm is None:
        raise BadToken("algorithm")
    key = await jwks.find(token.kid, algorithm)
    if key is None:
        raise BadToken("unknown_key")
    try:
        good = algorithm.verify(token.signed, token.signature, key)
    except (JoseError, ValueError):
        good = False
    if not good:
        raise BadToken("signature")


def _read(body: bytes) -> list[Key]:
    """The usable keys of a JWK Set. One that we cannot use does not spoil the others (RFC 7517 section 5)."""
    document = json.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JWK Set")
    keys = [key for key in map(_import, entries[:MAX_KEYS]) if key is not None]
    if not keys:
        raise ValueError("no usable key in the JWK Set")
    return keys


def _import(entry: Any) -> Key | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    if "verify" not in (entry.get("key_ops") or ["verify"]):
        return None
    kind = KINDS.get(str(entry.get("kty")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SecurityWarning)  # RSA below 2048 bits
            return None if kind is None else kind.import_key(entry)
    except (JoseError, SecurityWarning, ValueError, TypeError, KeyError, AttributeError):
        return None


def _fits(key: Key, algorithm: JWSAlgModel) -> bool:
    try:
        algorithm.check_key(key)  # its type, its curve, and the "alg" it was published for
    except JoseError:
        return False
    return True
