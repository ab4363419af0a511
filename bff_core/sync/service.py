"""One gateway's sync: what ``POST /sync`` does, between the request's model and the answer's bytes."""

from __future__ import annotations

import hashlib
import math
import time
from base64 import urlsafe_b64decode
from binascii import Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from ..clients import ServiceClient
from ..context import Principal, RequestContext
from ..errors import DeclarationError, SettingsError
from ..stores import KeyValueStore
from .declare import Collection, Mutation, Projection
from .enumeration import Room
from .messages import SyncRequest, answer_bytes
from .outbox import Outbox, acknowledged
from .poke import Pokes
from .pull import Pull
from .push import Push
from .source import Sink, Source
from .state import Entry, State, name_of, pack, unpack
from .token import NOBODY, Sealer, Token, new_key
from .view import View

__all__ = ["Sync", "read_keys"]

log = structlog.get_logger("bff.sync")
HOUR = 3600
TTL = 30 * 24 * HOUR
KEY_TTL = 10 * 365 * 24 * HOUR
MOST_ITEMS = 1000
MOST_BYTES = 512 * 1024
POLL, POLL_STALE, POLL_RETRY = 60, 15, 5


class Sync:
    """The collections and mutations of one gateway, over one store. ``pokes`` tells clients to pull.

    ``client`` gives a client class's instance for whoever is named. ``clock`` is Unix time in seconds.
    """

    def __init__(
        self,
        collections: Sequence[Collection],
        mutations: Sequence[Mutation],
        *,
        store: KeyValueStore,
        keys: Sequence[bytes],
        client: Callable[[type[ServiceClient], str], ServiceClient],
        pokes: Pokes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for kind, names in (("collection", [c.name for c in collections]), ("mutation", [m.name for m in mutations])):
            if double := sorted({name for name in names if names.count(name) > 1}):
                raise DeclarationError(f"there are two {kind}s called '{double[0]}'")
        self._sources = {collection.name: Source(collection, client) for collection in collections}
        self._sinks = {mutation.name: Sink(mutation, client) for mutation in mutations}
        for mutation in mutations:
            if unknown := [name for name in mutation.touches if name not in self._sources]:
                raise DeclarationError(
                    f"mutation '{mutation.name}' touches '{unknown[0]}', which is no collection here"
                )
        self._touches = {mutation.name: mutation.touches for mutation in mutations}
        self._store = store
        self._sealer = Sealer(keys) if keys else None
        self._clock = clock
        self.pokes = pokes

    async def answer(self, request: SyncRequest, context: RequestContext) -> bytes:
        """Push, then pull. Raises ``StoreUnavailable``; everything else is part of the answer."""
        principal = context.authenticated()
        owner = owner_of(principal, request.client)
        bound = f"{owner}\n{request.schema_}".encode()
        sealer = await self._seals()
        wanted = self._wanted(request)
        push = Push(self._store, context, owner, self._sinks, wanted)
        await push.run(request.mutations)
        if push.applied:
            self.pokes.poke(principal)
        token = sealer.open(request.token, bound) if request.token is not None else None
        state = await self._load(owner, token)
        known, token = state is not None, token if state is not None else None
        if state is None:
            state = State({name: Entry(View.of(have)) for name, have in (request.have or {}).items() if name in wanted})
        outbox = push.outbox or Outbox(0)
        room = Room(min(request.limit, MOST_ITEMS), MOST_BYTES)
        cautious = request.token is not None and not known
        pull = Pull(state, wanted, context, room, outbox.done, self._clock, cautious=cautious)
        await pull.run(self._touched(outbox, state.ack))
        through = {name: _through(pull.state, name) for name in wanted}
        state = replace(pull.state, ack=acknowledged(outbox, state.ack, through, self._touches))
        text = await self._save(owner, bound, sealer, state, token, request.token)
        stale = [*pull.stale, *sorted(set(request.collections or ()) - wanted.keys())]
        head: dict[str, Any] = {
            "mode": "delta" if known or request.have is not None else "snapshot",
            "token": text,
            "more": pull.more or (push.more and not push.retry),
            "ack": state.ack,
        }
        if stale:
            head["stale"] = stale
        head["poll_after"] = _poll_after(pull, retry=push.retry)
        return answer_bytes(head, push.results, pull.parts)

    async def aclose(self) -> None:
        """Let go of the store and of whoever waits for a poke."""
        self.pokes.close()
        await self._store.aclose()

    def _wanted(self, request: SyncRequest) -> dict[str, tuple[Source, Projection]]:
        asked = request.collections
        return {
            name: (source, source.collection.projection(frozenset(asked[name].fields if asked is not None else ())))
            for name, source in self._sources.items()
            if asked is None or name in asked
        }

    def _touched(self, outbox: Outbox, ack: int) -> Mapping[str, int]:
        """The last mutation not acknowledged that changed each collection."""
        return {
            name: result.seq
            for result in outbox.results
            if result.seq > ack and result.status != "rejected"
            for name in self._touches.get(result.op, ())
        }

    async def _seals(self) -> Sealer:
        """Who seals tokens: with the keys that were given, else with one that the replicas share in the store."""
        if self._sealer is None:
            await self._store.swap("key", None, new_key(), KEY_TTL)
            key = await self._store.get("key")
            if key is None:
                raise SettingsError("the store of the sync keeps nothing: a key that was just written is not there")
            self._sealer = Sealer([key])
        return self._sealer

    async def _load(self, owner: str, token: Token | None) -> State | None:
        """The state that a token names, and the end of the one before it, which nobody will ask for again."""
        if token is None:
            return None
        packed = await self._store.get(_state_key(owner, token.state))
        if packed is None:
            return None
        try:
            state = unpack(packed)
        except (ValueError, KeyError, TypeError):
            log.warning("sync.state", detail="a state of another format")
            return None
        if token.parent not in (NOBODY, token.state):
            await self._store.delete(_state_key(owner, token.parent))
        return state

    async def _save(
        self, owner: str, bound: bytes, sealer: Sealer, state: State, token: Token | None, text: str | None
    ) -> str:
        """The token for a state, which is stored unless it is the client's own and was stored lately."""
        pieces = pack(state)
        name, hour = name_of(pieces), int(self._clock() // HOUR)
        if token is not None and token.state == name:
            recent = abs(hour - token.hour) * HOUR < TTL / 2
            if recent and token.parent == NOBODY and text is not None and sealer.is_newest(text):
                return text
            if not recent:
                await self._store.put(_state_key(owner, name), b"".join(pieces), TTL)
            return sealer.seal(Token(name, NOBODY, token.hour if recent else hour), bound)
        await self._store.put(_state_key(owner, name), b"".join(pieces), TTL)
        return sealer.seal(Token(name, token.state if token is not None else NOBODY, hour), bound)


def owner_of(principal: Principal, client: str) -> str:
    """Whose tokens, states and mutations: one installation of one principal. Its scopes do not count, for they may
    change while a mutation is pending, whose key must not."""
    whose = repr((principal.kind, principal.issuer, principal.subject, principal.tenant, client))
    return hashlib.sha256(whose.encode(errors="surrogatepass")).hexdigest()[:32]


def read_keys(keys: Sequence[str]) -> list[bytes]:
    """Keys from their text, base64url of 32 bytes. Raises ``SettingsError``."""
    try:
        raw = [urlsafe_b64decode(key + "=" * (-len(key) % 4)) for key in keys]
    except (Error, ValueError):
        raw = [b""]
    if any(len(key) != len(new_key()) for key in raw):
        raise SettingsError(
            "a key for sync tokens is 32 random bytes as base64url; make one: "
            'python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
        )
    return raw


def _state_key(owner: str, name: bytes) -> str:
    return f"state:{owner}:{name.hex()}"


def _through(state: State, name: str) -> int:
    entry = state.entries.get(name)
    return entry.view.through if entry is not None else 0


def _poll_after(pull: Pull, *, retry: bool) -> int:
    if pull.more:
        return 0
    waits = [POLL]
    if retry:
        waits.append(POLL_RETRY)
    if pull.stale:
        waits.append(math.ceil(pull.wait) if pull.wait else POLL_STALE)
    return min(waits)
