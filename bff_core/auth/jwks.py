"""An issuer's public keys (RFC 7517): fetched when needed, kept, renewed when they rotate."""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from ..errors import Problem, ServiceError
from ..wire import Wire, WireResponse

__all__ = ["JwksCache"]

log = structlog.get_logger("bff.auth")
TTL = 600.0
COOLDOWN = 15.0
TIMEOUT = 2.0


class JwksCache:
    """The key set at ``target`` of ``wire``'s origin. Old keys go on being used while the issuer does not answer;
    it is not asked more often than every fifteen seconds."""

    def __init__(self, wire: Wire, target: str) -> None:
        self._wire = wire
        self._target = target
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def keys(self, *, newer_than: KeySet | None = None) -> KeySet:
        """The keys; with ``newer_than`` they are fetched again if that is allowed by now. Raises a 503 problem when
        there are none."""
        now = time.monotonic()
        if self._keys is not None and newer_than is not self._keys and now - self._fetched < TTL:
            return self._keys
        async with self._lock:
            if self._keys is not newer_than and self._keys is not None and now - self._fetched < TTL:
                return self._keys
            if self._keys is None or time.monotonic() - self._tried >= COOLDOWN:
                await self._renew()
        if self._keys is None:
            raise Problem(503, "Credentials cannot be verified at the moment.", headers={"retry-after": "1"})
        return self._keys

    async def _renew(self) -> None:
        self._tried = time.monotonic()
        try:
            response = await self._get()
            if response.status != HTTPStatus.OK:
                raise ValueError(f"status {response.status}")
            self._keys = KeySet.import_key_set(json.loads(response.body))
            self._fetched = time.monotonic()
        except (ServiceError, ValueError, KeyError, TypeError, JoseError) as error:
            log.warning("jwks.failed", reason=str(error), kept=self._keys is not None)

    async def _get(self) -> WireResponse:
        future: asyncio.Future[WireResponse] = asyncio.get_running_loop().create_future()

        def done(response: WireResponse | None, error: ServiceError | None) -> None:
            if future.done():
                return
            if response is not None:
                future.set_result(response)
            else:
                future.set_exception(error or ServiceError())

        exchange = self._wire.send("GET", self._target, b"accept: application/json\r\n", b"", TIMEOUT, done)
        try:
            return await future
        except asyncio.CancelledError:
            exchange.abandon()
            raise
