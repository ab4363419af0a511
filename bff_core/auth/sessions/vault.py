"""Where sessions are kept: sealed, in a store that replicas share, found by a digest of their identifier."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b

from ...stores import KeyValueStore, StoreUnavailable
from ..expiring import ExpiringMap
from .cookie import new_id
from .seal import Sealer
from .session import Session

__all__ = ["Held", "Vault", "handle_of", "index_names"]

MAX_KNOWN = 4096
MOST_PER_USER = 100
TRIES = 10


@dataclass(frozen=True, slots=True)
class Held:
    """A session, and the bytes that it is in the store."""

    raw: bytes
    session: Session


def handle_of(session_id: str) -> str:
    """What a session is called where its identifier must not be known."""
    return blake2b(session_id.encode(), digest_size=32).hexdigest()


class Vault:
    """Sessions in ``store``, each for ``idle`` seconds from its last use. The store is asked every time, so that what
    is ended is ended on every replica; what it gives is unsealed once as long as it is the same. ``clock`` gives Unix
    time; ``key`` is the thumbprint of the key that access tokens are bound to, None for bearer tokens.

    Every method raises ``StoreUnavailable``.
    """

    def __init__(
        self,
        store: KeyValueStore,
        sealer: Sealer,
        *,
        idle: float,
        clock: Callable[[], float],
        key: str | None = None,
    ) -> None:
        self.store = store
        self._key = key
        self._sealer = sealer
        self._idle = idle
        self._clock = clock
        self._known: ExpiringMap[Held] = ExpiringMap(MAX_KNOWN)

    async def read(self, session_id: str) -> Held | None:
        """The session, None when there is none, or it has ended."""
        handle = handle_of(session_id)
        raw = await self.store.get("session:" + handle)
        now = self._clock()
        key = handle.encode()
        if raw is None:
            self._known.drop(key)
            return None
        held = self._known.get(key, now)
        if held is not None and held.raw == raw:
            return held
        plain = self._sealer.open(session_id, raw)
        if plain is None:
            return None
        session = Session.load(plain)
        if session is None or now >= session.ends:
            return None
        session = session.with_key(self._key)
        if session is None:
            return None
        held = Held(raw, session)
        self._known.put(key, held, session.ends)
        return held

    async def create(self, session: Session, provider_sid: str | None) -> str:
        """Keep a new session; its identifier. ``provider_sid`` is the session at the provider (the claim ``sid``)."""
        session_id = new_id()
        handle = handle_of(session_id)
        # First where a logout looks for it: one that comes later must not miss it.
        names = index_names(session.principal.issuer, session.principal.subject, provider_sid)
        for name in names:
            await self._enter(name, handle, session.ends)
        raw = self._sealer.seal(session_id, session.dump())
        await self.store.put("session:" + handle, raw, self._ttl(session))
        for name in names:
            index = await self.store.get(name)
            if index is None or (self._read_index(name, index) or {}).get(handle, 0.0) <= 0.0:
                await self.end(session_id)  # a logout came in between, and may have found nothing to end
                break
        return session_id

    async def replace(self, session_id: str, held: Held, session: Session) -> bool:
        """Keep ``session`` instead, if what was ``held`` is still there; whether it was."""
        raw = self._sealer.seal(session_id, session.dump())
        return await self.store.swap("session:" + handle_of(session_id), held.raw, raw, self._ttl(session))

    async def end(self, session_id: str) -> None:
        """End it, everywhere."""
        handle = handle_of(session_id)
        self._known.drop(handle.encode())
        await self.store.delete("session:" + handle)

    async def end_all(self, names: Iterable[str]) -> int:
        """End every session that ``names`` (of ``index_names``) lead to; how many there were. What is not ended when it
        raises is found once more by who tries again."""
        ended = 0
        for name in names:
            for _ in range(TRIES):
                raw = await self.store.get(name)
                if raw is None:
                    break
                handles = self._read_index(name, raw)
                if handles is None:
                    raise StoreUnavailable("which sessions to end is sealed with a key that this replica has not")
                # First marked: who still finds itself unmarked after that has put its session before that.
                marked = {handle: -abs(ends) for handle, ends in handles.items()}
                if handles != marked:
                    written = await self._write_index(name, raw, marked)
                    if written is None:
                        continue
                    raw = written
                ended += await self._end_these(handles)
                if await self.store.delete(name, raw):
                    break
            else:
                raise StoreUnavailable("sessions are entered faster than they can be ended")
        return ended

    async def _end_these(self, handles: Iterable[str]) -> int:
        ended = 0
        for handle in handles:
            self._known.drop(handle.encode())
            ended += await self.store.delete("session:" + handle)
        return ended

    def _ttl(self, session: Session) -> float:
        return min(self._idle, session.ends - self._clock())

    async def _enter(self, name: str, handle: str, ends: float) -> None:
        for _ in range(TRIES):
            raw = await self.store.get(name)
            now = self._clock()
            # What no key of ours opens is of sessions that no key of ours opens, unless keys are changed in one step.
            handles = (self._read_index(name, raw) if raw is not None else None) or {}
            handles = {known: ends for known, ends in handles.items() if abs(ends) > now}
            handles[handle] = ends
            oldest = list(handles)[:-MOST_PER_USER]
            for gone in oldest:
                del handles[gone]
            if await self._write_index(name, raw, handles) is not None:
                for gone in oldest:
                    await self.store.delete("session:" + gone)
                return
        raise StoreUnavailable("too many sign-ins of one user at a time")

    async def _write_index(self, name: str, raw: bytes | None, handles: dict[str, float]) -> bytes | None:
        """Write it in the place of ``raw``; what was written, None when something else was there."""
        value = self._sealer.seal(name, json.dumps(handles).encode())
        lives = max(map(abs, handles.values())) - self._clock()
        return value if await self.store.swap(name, raw, value, lives) else None

    def _read_index(self, name: str, raw: bytes) -> dict[str, float] | None:
        """When each session is over, negative for one that is being ended; None when no key of ours opens it."""
        plain = self._sealer.open(name, raw)
        return None if plain is None else json.loads(plain)


def index_names(issuer: str | None, subject: str | None, provider_sid: str | None) -> list[str]:
    """Under which a session is found by whom it is of, and by the provider's own session."""
    named = {"sub": subject, "sid": provider_sid}
    return [f"{kind}:{issuer}\0{value}" for kind, value in named.items() if value is not None]
