"""Authentication by API keys that are kept in SQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import structlog
from pydantic import SecretStr
from starlette.types import Scope

from ...context import Principal
from ...errors import Refused
from ...stores import sql_engine
from ..api_key import key_in
from ..expiring import ExpiringMap, Shared, cannot_verify
from ..key_form import KeyDigests, issued
from .record import KeyRecord

if TYPE_CHECKING:
    from .store import KeyStore

__all__ = ["StoredKeys", "Uses"]

log = structlog.get_logger("bff.keys")
REMEMBERED = 10_000
AGAIN = 1.0  # seconds until a database that failed is asked again for a key that goes on without it
UNKNOWN = KeyRecord("", "", "", "")


class Uses(Protocol):
    """Who has used which version of the API how often since the start, and when last."""

    def snapshot(self) -> Mapping[tuple[str, str], tuple[int, float]]:
        """By version and client: the count, and the Unix time of the last one."""


class StoredKeys:
    """API keys in the SQLite file or PostgreSQL database at ``url`` (needs ``bff-core[sql]``), looked up by their
    HMAC-SHA-256 under ``pepper`` (at least 32 characters; ``old_peppers`` are known as well). They stand where those
    of ``ApiKeys`` do. ``store`` issues, lists, rotates and revokes them.

    What was found out holds for ``ttl`` seconds: so long a revocation takes to be in force everywhere. While the
    database cannot be asked (an answer in ``timeout`` seconds), a key that was good goes on for ``outage`` seconds
    since it was asked last, by default not at all: then it is a 503. When keys were used last is written every
    ``flush`` seconds, with the counts of ``uses``. Raises ``SettingsError``, and ``ImportError`` with the remedy.
    """

    challenge = 'ApiKey realm="partner"'
    by_request = False

    def __init__(
        self,
        url: str,
        *,
        pepper: SecretStr,
        old_peppers: Sequence[SecretStr] = (),
        header: str = "X-API-Key",
        ttl: float = 5.0,
        timeout: float = 1.0,
        outage: float = 0.0,
        flush: float = 10.0,
        uses: Uses | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        digests = KeyDigests(pepper, old_peppers)
        engine = sql_engine(url)
        from .store import KeyStore  # noqa: PLC0415 - needs an extra, which the engine has asked for

        self.store: KeyStore = KeyStore(engine, digests, clock=clock)
        self.scheme = {"type": "apiKey", "in": "header", "name": header}
        self._digest = digests.current
        self._header = header.lower().encode()
        self.ttl = ttl
        self.timeout, self._outage, self._flush_every = timeout, outage, flush
        self._clock, self._monotonic = clock, monotonic
        self._found: Shared[KeyRecord] = Shared(REMEMBERED, clock=monotonic)
        self._good: ExpiringMap[KeyRecord] = ExpiringMap(REMEMBERED)
        self._used: dict[str, float] = {}
        self._uses = uses
        self._written: dict[tuple[str, str], int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    async def authenticate(self, scope: Scope) -> Principal | None:
        """See ``Authenticator.authenticate``."""
        given = key_in(scope, self._header, self.challenge)
        if given is None:
            return None
        if not issued(given):
            raise Refused(401, "key_form", challenge=self.challenge)
        digest = self._digest(given)
        record = self._found.known(digest)
        if record is None:
            record = await self._found.get(digest, lambda: self._ask(given, digest))
        now = self._clock()
        state = "unknown" if record is UNKNOWN else record.state(now)
        if state != "active":
            raise Refused(401, f"{state}_key", challenge=self.challenge)
        self._used[record.id] = now
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._flush_every, self._start_flush)
        return record.principal

    async def flush(self) -> None:
        """Write what was noted since the last time. When the database fails it is kept for the next."""
        used, self._used = self._used, {}
        snapshot = dict(self._uses.snapshot()) if self._uses is not None else {}
        new = {
            key: (count - self._written.get(key, 0), last)
            for key, (count, last) in snapshot.items()
            if count > self._written.get(key, 0)
        }
        if not used and not new:
            return
        try:
            async with asyncio.timeout(self.timeout + self._flush_every):
                await self.store.used(used, new)
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            log.warning("keys.not_noted", error=type(error).__name__)
            self._used = {**used, **self._used}
        else:
            self._written |= {key: count for key, (count, _) in snapshot.items()}

    async def aclose(self) -> None:
        """Write what is left, and close."""
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await self._flushing
        await self._found.aclose()
        await self.flush()
        await self.store.aclose()

    async def _ask(self, given: bytes, digest: bytes) -> tuple[KeyRecord, float, bool]:
        try:
            async with asyncio.timeout(self.timeout):
                record = await self.store.find(given)
        except Exception as error:
            log.warning("keys.unavailable", error=type(error).__name__)
            known = self._good.get(digest, self._monotonic())
            if known is None:
                raise cannot_verify() from error
            return known, AGAIN, True
        if record is None:
            record = UNKNOWN
        good = record is not UNKNOWN and record.state(self._clock()) == "active"
        if good and self._outage:
            self._good.put(digest, record, self._monotonic() + self._outage)
        else:
            self._good.put(digest, record, 0.0)
        return record, self.ttl, good

    def _start_flush(self) -> None:
        self._timer = None
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self.flush())
