"""Renewing a session's tokens: once, whichever tab, replica or request wants it first."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from ...errors import Problem
from ...stores import StoreUnavailable
from ..expiring import cannot_verify
from .session import Session, Tokens
from .vault import Held, Vault, handle_of

__all__ = ["Grant", "GrantEnded", "Refresher"]

log = structlog.get_logger("bff.auth")
LEASE = 30.0  # longer than everything together that its owner may wait for
PAUSE = 5.0
POLL = 0.05
POLLS = 200
TRIES = 5
DOWN = b"down"


class GrantEnded(Exception):
    """The provider takes the refresh token no more (``invalid_grant``, RFC 6749 section 5.2)."""


class Grant:
    """What is done with a refresh token at the provider."""

    def __init__(
        self,
        renew: Callable[[str, Session], Awaitable[tuple[Tokens, dict[str, Any] | None]]],
        revoke: Callable[[str], Awaitable[None]],
    ) -> None:
        self.renew = renew
        self.revoke = revoke


class Refresher:
    """Renews tokens under a lease in the store, so that a refresh token, which providers let be used once, is used
    once. When the provider does not answer, it is left alone for five seconds. ``clock`` gives Unix time."""

    def __init__(
        self,
        vault: Vault,
        grant: Grant,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._vault = vault
        self._grant = grant
        self._clock = clock
        self._sleep = sleep
        self._under_way: dict[str, asyncio.Task[Session | None]] = {}

    def start(self, session_id: str) -> asyncio.Task[Session | None]:
        """The renewal under way, a new one if there is none. It gives the session with good tokens, None when it has
        ended, and raises a 503 problem when that cannot be told now. Whoever awaits it must shield it."""
        task = self._under_way.get(session_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._run(session_id))
            self._under_way[session_id] = task
            task.add_done_callback(lambda done: self._ended(session_id, done))
        return task

    async def aclose(self) -> None:
        """Wait for what is under way: a new refresh token must not be lost."""
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _ended(self, session_id: str, task: asyncio.Task[Session | None]) -> None:
        self._under_way.pop(session_id, None)
        if not task.cancelled():
            task.exception()  # nobody may have waited for it

    async def _run(self, session_id: str) -> Session | None:
        try:
            return await self._turn(session_id)
        except StoreUnavailable as error:
            log.warning("session.store_failed", reason=str(error))
            raise cannot_verify() from None

    async def _turn(self, session_id: str) -> Session | None:
        store, lease, owner = self._vault.store, "refresh:" + handle_of(session_id), secrets.token_bytes(16)
        for _ in range(POLLS):
            if await store.swap(lease, None, owner, LEASE):
                try:
                    return await self._renew(session_id, lease, owner)
                finally:
                    with suppress(StoreUnavailable):  # then it runs out
                        await store.delete(lease, owner)
            if await store.get(lease) == DOWN:
                break
            await self._sleep(POLL)
            held = await self._vault.read(session_id)
            if held is None or self._clock() < held.session.renew:
                return None if held is None else held.session
        raise cannot_verify()

    async def _renew(self, session_id: str, lease: str, owner: bytes) -> Session | None:
        """With the lease. Another owner may have been here just before."""
        held = await self._vault.read(session_id)
        if held is None or self._clock() < held.session.renew:
            return None if held is None else held.session
        refresh = held.session.refresh
        if refresh is None:
            return held.session
        try:
            tokens, claims = await self._grant.renew(refresh, held.session)
        except Problem:
            await self._vault.store.swap(lease, owner, DOWN, PAUSE)
            raise
        except GrantEnded:
            held = await self._vault.read(session_id)
            if held is not None and held.session.refresh != refresh:
                return held.session  # somebody whose lease had run out was here after all
            log.info("session.grant_ended", subject=held.session.principal.subject if held is not None else None)
            await self._vault.end(session_id)
            return None
        return await self._keep(session_id, held, refresh, tokens, claims)

    async def _keep(
        self, session_id: str, held: Held, used: str, tokens: Tokens, claims: dict[str, Any] | None
    ) -> Session | None:
        """Write the new tokens down, whatever else happens to the session meanwhile: the old ones are of no use."""
        now = self._clock()
        for attempt in range(TRIES):
            try:
                renewed = held.session.renewed(tokens, claims, now)
                if await self._vault.replace(session_id, held, renewed):
                    return renewed
                again = await self._vault.read(session_id)
            except StoreUnavailable:
                if attempt + 1 == TRIES:
                    log.error("session.tokens_lost", subject=held.session.principal.subject)
                    raise
                await self._sleep(0.1 * 2**attempt)
                continue
            if again is None:
                # Signed out meanwhile, which must not be undone.
                await self._grant.revoke(tokens.refresh or used)
                return None
            if again.session.access == tokens.access:
                return again.session  # the write whose outcome was not known
            held = again
        raise StoreUnavailable("the session is changed faster than it can be renewed")
