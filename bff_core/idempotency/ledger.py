"""The records of a gateway: who may begin, and what became of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from ..stores import KeyValueStore, StoreUnavailable, open_store
from ..telemetry import Event, Events
from .record import Answer, Complete, InProgress, Uncertain, Verdict, decide, decode, encode

__all__ = ["EXPIRY", "Claim", "Ledger"]

EXPIRY = 24 * 3600.0
MARGIN = 30.0
TIMEOUT = 1.0
ROUNDS = 4


class Claim(NamedTuple):
    """The right to carry a request out; ``record`` is what the store has meanwhile."""

    key: str
    fingerprint: bytes
    record: bytes


class Ledger:
    """Records of gateway ``gateway`` in the store at ``url``, which is opened by the first page that needs it.

    ``deadline``, in seconds, is how long a request may take: what a process that died had begun may be begun again half
    a minute later than that, by the store's clock. ``denies`` says to who asks what to do without it.
    ``clock`` is that of ``memory://``.
    """

    def __init__(
        self,
        gateway: str,
        url: str,
        deadline: float,
        events: Events,
        *,
        denies: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.denies = denies
        self.down = False
        self._gateway = gateway
        self._url = url
        self._lease = deadline + MARGIN
        self._events = events
        self._clock = clock
        self._store: KeyValueStore | None = None

    def open(self) -> None:
        """There is a page that needs it. Raises ``SettingsError``."""
        if self._store is None:
            namespace = f"{self._gateway}:idempotency"
            self._store = open_store(self._url, namespace=namespace, timeout=TIMEOUT, clock=self._clock)

    async def claim(self, key: str, fingerprint: bytes) -> Claim | Verdict:
        """The right to carry the request out, or why not. Raises ``StoreUnavailable``."""
        claim = Claim(key, fingerprint, encode(InProgress(fingerprint, secrets.token_bytes(16))))
        try:
            verdict = await self._begin(claim)
        except StoreUnavailable as error:
            self._lost(error)
            raise
        if self.down:
            self.down = False
            self._events.emit(Event("OnStoreBack", "information", self._gateway, "Idempotency"))
        return claim if verdict == "begin" else verdict

    async def settle(self, claim: Claim, answer: Answer | None) -> None:
        """It ended with ``answer``, or nobody knows how. Who has lost the claim meanwhile changes nothing; what the
        store does not hear of may be begun again when the lease has ended."""
        record = Uncertain(claim.fingerprint) if answer is None else Complete(claim.fingerprint, answer)
        try:
            await self._opened.swap(claim.key, claim.record, encode(record), EXPIRY)
        except StoreUnavailable as error:
            self._lost(error)

    async def aclose(self) -> None:
        """Close the store."""
        if self._store is not None:
            await self._store.aclose()

    @property
    def _opened(self) -> KeyValueStore:
        if self._store is None:
            raise StoreUnavailable("the store was not opened")
        return self._store

    async def _begin(self, claim: Claim) -> Verdict:
        found: bytes | None = None
        for _ in range(ROUNDS):
            # First as if nothing were there, which is what most requests find.
            if await self._swapped(claim, found):
                return "begin"
            found = await self._opened.get(claim.key)
            verdict = decide(_read(found), claim.fingerprint)
            if verdict != "begin":
                return verdict
        return "wait"  # others come and go under this key faster than we look

    async def _swapped(self, claim: Claim, found: bytes | None) -> bool:
        try:
            return await self._opened.swap(claim.key, found, claim.record, self._lease)
        except StoreUnavailable:
            # It may have been done and only the answer lost: nobody would carry out what this record keeps from others.
            if await self._opened.get(claim.key) != claim.record:
                raise
            return True

    def _lost(self, error: StoreUnavailable) -> None:
        if not self.down:
            self.down = True
            self._events.emit(Event("OnStoreLost", "error", self._gateway, "Idempotency", detail=str(error)))


def _read(found: bytes | None) -> InProgress | Uncertain | Complete | None:
    try:
        return None if found is None else decode(found)
    except ValueError as error:
        raise StoreUnavailable(str(error)) from None
