"""Tokens that are of no use to a thief (DPoP, RFC 9449): the gateway proves with each call that it has the key to which
the access token is bound."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterable, Callable
from functools import cache
from http import HTTPStatus

import structlog
from joserfc.jws import JWSRegistry

from ..errors import ConnectionLost, ServiceError
from ..wire import Done, Exchange, Streamed, Wire, WireResponse
from .signing_key import read_signing_key

__all__ = ["NONCE_WANTED", "ProofKey", "ProvedWire", "nonce_of"]

log = structlog.get_logger("bff.auth")
NONCE_WANTED = "use_dpop_nonce"
MAX_NONCE = 1024
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_AUTHORIZATION = b"\r\nauthorization: DPoP "
"""What a call with a bound token has among its headers. No value of a header can have a line break, so that nothing
that a client chose looks like it."""


class ProofKey:
    """The gateway's private key as PEM or JWK in ``text``; ``what`` is what it was given as. Raises
    ``DeclarationError``."""

    def __init__(self, text: str, what: str, clock: Callable[[], float] = time.time) -> None:
        self._key, algorithm = read_signing_key(text, what)
        self._algorithm = JWSRegistry.algorithms[algorithm]
        self._clock = clock
        self.thumbprint = self._key.thumbprint()  # RFC 7638
        known = self._key.as_dict(private=False)
        public = {name: known[name] for name in _PUBLIC if name in known}
        self._header = _encoded({"typ": "dpop+jwt", "alg": algorithm, "jwk": public})

    def header(self, method: str, url: str, nonce: str | None, token: bytes | None = None) -> bytes:
        """The header of one request, to be sent once (section 4.2): its ``method`` and ``url``, the server's ``nonce``
        if it wants one, and the access ``token`` that goes along, if any."""
        claims: dict[str, object] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": url.partition("?")[0],
            "iat": int(self._clock()),
        }
        if token is not None:
            claims["ath"] = _base64(hashlib.sha256(token).digest()).decode()
        if nonce is not None:
            claims["nonce"] = nonce
        signed = self._header + b"." + _encoded(claims)
        return b"dpop: %b.%b\r\n" % (signed, _base64(self._algorithm.sign(signed, self._key)))


class ProvedWire:
    """``inner``, a wire to ``origin``, with a proof beside every bound token: one for each attempt. The nonce that the
    service wants is learnt from its answers; a call that it refuses for want of one (section 9) is sent once more. So
    is, with another proof, what ``inner`` itself would have sent once more without one."""

    def __init__(self, inner: Wire, origin: str, key: ProofKey) -> None:
        self._inner = inner
        self.origin = origin
        self.key = key
        self.nonce: str | None = None

    @property
    def in_flight(self) -> int:
        """See ``Wire.in_flight``."""
        return self._inner.in_flight

    def send(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes,
        timeout: float,
        done: Done,
        *,
        repeatable: bool = True,
        hurried: bool = False,
    ) -> Exchange:
        """See ``Wire.send``."""
        _, bound, rest = headers.partition(_AUTHORIZATION)
        if not bound:
            return self._inner.send(
                method, target, headers, body, timeout, done, repeatable=repeatable, hurried=hurried
            )
        token, until = rest.partition(b"\r\n")[0], time.monotonic() + timeout
        url = self.origin + target

        def send_proved(heard: Done) -> Exchange:
            proof = self.key.header(method, url, self.nonce, token)
            left = until - time.monotonic()
            # A proof is sent once: whoever sends again comes through here for another.
            return self._inner.send(
                method, target, headers + proof, body, left, heard, repeatable=False, hurried=hurried
            )

        return _Proved(self, send_proved, until, done, repeatable=repeatable and method in _IDEMPOTENT)

    def stream(
        self,
        method: str,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
        *,
        length: int | None = None,
        idle: float | None = None,
        hurried: bool = False,
    ) -> Streamed:
        """See ``Wire.stream``. What passes through bears no token of a session's."""
        return self._inner.stream(method, target, headers, body, timeout, length=length, idle=idle, hurried=hurried)

    async def aclose(self) -> None:
        """See ``Wire.aclose``."""
        await self._inner.aclose()


class _Proved:
    """An exchange that may be sent a second time, with the nonce that was asked for, or over another connection."""

    __slots__ = ("_again", "_done", "_inner", "_repeatable", "_send", "_until", "_wire")

    def __init__(
        self, wire: ProvedWire, send: Callable[[Done], Exchange], until: float, done: Done, *, repeatable: bool
    ) -> None:
        self._wire = wire
        self._repeatable = repeatable
        self._send = send
        self._until = until
        self._done: Done | None = done
        self._again = True
        self._inner = send(self._ended)

    def abandon(self) -> None:
        """See ``Exchange.abandon``."""
        self._done = None
        self._inner.abandon()

    def _ended(self, response: WireResponse | None, error: ServiceError | None) -> None:
        done = self._done
        if done is None:
            return
        nonce = None if response is None else nonce_of(response, self._wire.origin)
        again = False
        if nonce is not None:
            self._wire.nonce = nonce
            if _wants_nonce(response):
                again, self._again = self._again, False
        elif isinstance(error, ConnectionLost) and error.stale:
            again, self._repeatable = self._repeatable, False
        if again and time.monotonic() < self._until:
            self._inner = self._send(self._ended)
            return
        self._done = None
        done(response, error)


def nonce_of(response: WireResponse, whose: str) -> str | None:
    """The nonce that a server, at ``whose`` address, gives for the next proof (section 8.2)."""
    value = response.header(b"dpop-nonce")
    if value and len(value) > MAX_NONCE:
        _warn_of_length(whose)
        return None
    return value.decode("ascii", "replace") if value else None


@cache
def _warn_of_length(whose: str) -> None:
    """Once for each address, of which there are as many as the settings name: it comes with every answer."""
    log.warning("dpop.nonce_too_long", address=whose, longest=MAX_NONCE)


def _wants_nonce(response: WireResponse | None) -> bool:
    if response is None or response.status != HTTPStatus.UNAUTHORIZED:
        return False
    challenges = (value for name, value in response.headers if name == b"www-authenticate")
    return any(NONCE_WANTED.encode() in value for value in challenges)


def _encoded(value: dict[str, object]) -> bytes:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")
