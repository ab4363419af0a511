"""The limits of one route, compiled: what a request of it meets before and after authentication."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from starlette.types import Scope

from ..context import PLAN_LIMITS, RequestContext
from ..telemetry import Event, Events
from .answers import limit_prefix, limit_value, quota_exceeded
from .booked import own_values
from .declare import AnyLimit
from .fallback import LimitStore
from .keys import Read, needs_principal, plan_of, reader
from .rules import SECOND, Concurrency, Decision
from .store import Key, Limit

__all__ = ["Guard", "Stage", "guard"]

TAKEN = "bff.limits"
"""In the scope of a request: what it has taken before authentication, for the later stage to give back."""
MOST_OWN = 1000


class Gate(Protocol):
    """Who authenticates."""

    async def enter(self, scope: Scope, context: RequestContext) -> object:
        """Give the context its principal, or raise."""


class Guard(NamedTuple):
    """What to ask before and after authentication; None where there is nothing."""

    before: Stage | None = None
    after: Stage | None = None

    async def enter(self, scope: Scope, context: RequestContext, gate: Gate | None) -> None:
        """Let a request through, by ``gate`` if there is one, or raise."""
        if self.before is not None:
            waiting = self.before.admit(scope, context)
            if waiting is not None:
                await waiting
        if gate is not None:
            await gate.enter(scope, context)
        if self.after is not None:
            waiting = self.after.admit(scope, context)
            if waiting is not None:
                await waiting


def guard(limits: Sequence[AnyLimit], *, private: bool, store: LimitStore, events: Events, lease: int) -> Guard:
    """The guard of a route under ``limits``. Those that need no principal are asked before authentication, so that
    attempts to guess are counted; of a route that is not private, all at once. ``lease`` is the longest a call can
    take, in microseconds."""
    late = [limit for limit in limits if needs_principal(limit.key) or limit.plans] if private else []
    early = [limit for limit in limits if limit not in late]
    after = Stage(late, store, events, lease) if late else None
    before = Stage(early, store, events, lease, more=after is not None) if early else None
    return Guard(before, after)


class _Variant(NamedTuple):
    """The limits of a stage for the principals of one plan."""

    limits: tuple[Limit, ...]
    reads: tuple[Read, ...]
    policy: tuple[bytes, bytes]
    holds: bool


class Stage:
    """Limits that are decided together. ``more`` when a later stage may have this one's calls given back."""

    def __init__(
        self, limits: Sequence[AnyLimit], store: LimitStore, events: Events, lease: int, *, more: bool = False
    ) -> None:
        self._store = store
        self._events = events
        self._more = more
        plans = {plan for limit in limits for plan in limit.plans}
        self._variants = {plan: _variant(limits, plan, lease) for plan in plans}
        self._default = _variant(limits, "", lease)
        self._limits = {limit.name: limit for limit in limits}
        self._lease = lease
        self._own: dict[tuple[str, str], _Variant] = {}
        self._prefixes = {limit.name: limit_prefix(limit.name) for limit in limits}
        self._token = secrets.token_hex(8)  # a restarted process must not take its predecessor's leases for its own
        self._count = itertools.count()

    def admit(self, scope: Scope, context: RequestContext) -> Awaitable[None] | None:
        """Let the request through, or raise a 429 problem; what it returns, if anything, is to be awaited."""
        variant = self._default
        if self._variants:
            variant = self._variants.get(plan_of(context.principal) or "", variant)
        own = None if context.principal is None else context.principal.claims.get(PLAN_LIMITS)
        if isinstance(own, str):
            variant = self._of_its_own(plan_of(context.principal) or "", own)
        limits: Sequence[Limit] = variant.limits
        keys: Sequence[Key | None] = [read(scope, context) for read in variant.reads]
        if None in keys:
            limits = [limit for limit, key in zip(limits, keys, strict=True) if key is not None]
        known = [key for key in keys if key is not None]
        if not known:
            return None
        lease = f"{self._token}{next(self._count):x}" if variant.holds else ""
        decision = self._store.take(limits, known, lease)
        call = _Call(limits, known, lease)
        if isinstance(decision, Decision):
            self._settle(scope, context, variant, call, decision)
            return None
        return self._wait(scope, context, variant, call, decision)

    def _of_its_own(self, plan: str, text: str) -> _Variant:
        """The limits for who has booked some besides its plan."""
        found = self._own.get((plan, text))
        if found is None:
            if len(self._own) >= MOST_OWN:
                self._own.clear()
            own = own_values(self._limits, text)
            found = self._own[plan, text] = _variant(tuple(self._limits.values()), plan, self._lease, own)
        return found

    async def _wait(
        self, scope: Scope, context: RequestContext, variant: _Variant, call: _Call, waiting: Awaitable[Decision]
    ) -> None:
        self._settle(scope, context, variant, call, await waiting)

    def _settle(
        self, scope: Scope, context: RequestContext, variant: _Variant, call: _Call, decision: Decision
    ) -> None:
        value = limit_value(self._prefixes[decision.policy], decision)
        context.reply_headers = (*context.reply_headers, variant.policy, (b"ratelimit", value))
        if not decision.allowed:
            self._refuse(scope, context, decision)
        if variant.holds:
            place = _Place(self._store, call.only(Concurrency), self._lease / SECOND, local=decision.local)
            context.at_end = (*context.at_end, place.leave)
        if self._more:
            scope[TAKEN] = (call, decision.local)

    def _refuse(self, scope: Scope, context: RequestContext, decision: Decision) -> None:
        if TAKEN in scope:
            # What is refused consumes nothing of the limits before authentication either.
            earlier, local = scope.pop(TAKEN)
            self._store.give_back(*earlier, local=local)
        event = Event("OnRateLimiterRejected", "warning", context.route or "", "RateLimiter", operation=decision.policy)
        self._events.emit(event)
        raise quota_exceeded(decision)


class _Call(NamedTuple):
    """What was asked for one request."""

    limits: Sequence[Limit]
    keys: Sequence[Key]
    lease: str

    def only(self, kind: type) -> _Call:
        which = [isinstance(limit.rule, kind) for limit in self.limits]
        return _Call(
            list(itertools.compress(self.limits, which)), list(itertools.compress(self.keys, which)), self.lease
        )


class _Place:
    """What a call holds of its concurrency limits, until it has left; a stream may go on for longer than a ``lease``
    (seconds), which is there for processes that die."""

    __slots__ = ("_call", "_local", "_pause", "_store", "_timer")

    def __init__(self, store: LimitStore, call: _Call, lease: float, *, local: bool) -> None:
        self._store = store
        self._call = call
        self._local = local
        self._pause = lease / 2
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._stay)

    def leave(self) -> None:
        """The call has ended."""
        self._timer.cancel()
        self._store.give_back(*self._call, local=self._local)

    def _stay(self) -> None:
        self._store.renew(*self._call, local=self._local)
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._stay)


def _variant(limits: Sequence[AnyLimit], plan: str, lease: int, own: Mapping[str, Any] | None = None) -> _Variant:
    chosen, reads, items = [], [], []
    for limit in limits:
        value = limit.plans.get(plan, limit.default)
        if own is not None and limit.name in own:
            value = own[limit.name]
        rated = limit.value(value, lease)  # type: ignore[arg-type]  # each its own kind of value
        if rated is None:
            continue
        rule, item = rated
        chosen.append(Limit(limit.name, rule, limit.on_store_failure == "deny"))
        reads.append(reader(limit.key, limit.name, rule.tag))
        items.append(item)
    holds = any(isinstance(limit.rule, Concurrency) for limit in chosen)
    return _Variant(tuple(chosen), tuple(reads), (b"ratelimit-policy", b", ".join(items)), holds)
