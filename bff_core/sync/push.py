"""The push: a client's mutations, in their order, each recorded before it is sent and again before it is told."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from pydantic import ValidationError

from ..context import RequestContext
from ..errors import Problem, ServiceError, UnexpectedStatus
from ..pages.failure import problem_of
from ..stores import KeyValueStore
from .content import show_version
from .declare import Projection
from .messages import SyncMutation, result_bytes
from .outbox import Outbox, Result, Status, outcome, unseen
from .source import Sink, Source
from .view import Row

__all__ = ["Push", "problem_document"]

log = structlog.get_logger("bff.sync")
TTL = 90 * 24 * 3600.0
SHARE_OF_TIME = 0.5
LEASE_BEYOND = 0.5
TYPE = "urn:bff:sync:"
LONGEST = 200  # of what is kept of a text that a client or a service gave


@dataclass(slots=True)
class Push:
    """One request's push. ``owner`` names client and principal in the store's keys.

    After ``run``: ``outbox`` is the client's (None when it never wrote), ``results`` are the answers' bytes,
    ``retry`` says that one is to be sent again later, ``more`` that there was no time for all.
    """

    store: KeyValueStore
    context: RequestContext
    owner: str
    sinks: Mapping[str, Sink]
    views: Mapping[str, tuple[Source, Projection]]
    outbox: Outbox | None = None
    results: list[bytes] = field(default_factory=list)
    retry: bool = False
    more: bool = False
    applied: bool = False
    _stored: bytes | None = None

    async def run(self, mutations: Sequence[SyncMutation]) -> None:
        """Do what can be done now. Raises ``StoreUnavailable``; what was recorded as pending is sent again then."""
        key = f"outbox:{self.owner}"
        if not mutations:
            self._load(await self.store.get(key))
            return
        lease, mine = f"lease:{self.owner}", secrets.token_bytes(16)
        now = time.monotonic()
        until = now + (self.context.deadline - now) * SHARE_OF_TIME
        if not await self.store.swap(lease, None, mine, self.context.remaining() + LEASE_BEYOND):
            self._load(await self.store.get(key))
            self._later(mutations[0], "busy", "Another request of this client is under way.")
            return
        try:
            self._load(await self.store.get(key))
            await self._all(sorted(mutations, key=lambda each: each.seq), until)
        finally:
            await self.store.delete(lease, mine)

    def _load(self, stored: bytes | None) -> None:
        self._stored = stored
        self.outbox = Outbox.load(stored) if stored is not None else None

    async def _all(self, mutations: Sequence[SyncMutation], until: float) -> None:
        # A client begins where it says: what it did before was with an outbox that nobody remembers.
        self.outbox = self.outbox or Outbox(mutations[0].seq - 1)
        for each in mutations:
            if self.retry:
                return
            if time.monotonic() > until:
                self.more = True
                return
            await self._one(self.outbox, each)

    async def _one(self, outbox: Outbox, each: SyncMutation) -> None:
        place = outbox.place(each.seq, each.id)
        if place == "done":
            known = outbox.result(each.seq, each.id)
            await self._tell(each, known.status if known else "unknown", known.problem if known else None)
        elif place == "taken":
            detail = f"Number {each.seq} was used before; take a new client name and number the outbox anew."
            self.results.append(result_bytes(each.id, "rejected", None, _problem("seq-taken", detail), shows=False))
        elif place == "gap":
            self._later(each, "gap", f"The next number is {outbox.done + 1}.", expected=outbox.done + 1)
        else:
            await self._do(outbox, each, first=place == "next")

    async def _do(self, outbox: Outbox, each: SyncMutation, *, first: bool) -> None:
        sink = self.sinks.get(each.op)
        if sink is None:
            await self._settle(
                outbox, each, "rejected", _problem("unknown-op", f"There is no mutation '{each.op[:64]}'.")
            )
            return
        try:
            arguments = sink.mutation.parse(each.args)
        except (ValidationError, ValueError) as error:
            await self._settle(outbox, each, "rejected", _invalid(error))
            return
        try:
            values = sink.values(self.context, arguments, self._key(each))
        except Exception as error:  # a function of the gateway's own, which may raise anything
            log.warning("sync.values", op=each.op, exc_info=not isinstance(error, ValueError))
            await self._settle(outbox, each, "rejected", _invalid(error))
            return
        if not first and not sink.mutation.resendable:
            await self._settle(outbox, each, "unknown", _problem("outcome-unknown", "It was sent, and no answer came."))
            return
        item = self._item(sink, each) if first and each.if_version is not None else None
        if item is None:
            await self._send(outbox, each, sink, values, first=first)
        elif await self._unchanged(outbox, each, sink, item):
            await self._send_alone(outbox, each, sink, values, item)

    async def _send_alone(self, outbox: Outbox, each: SyncMutation, sink: Sink, values: list[Any], item: str) -> None:
        """Look at the version once more with nobody else between the look and the write. Only who may see the item, and
        has seen it as it is, gets so far as to keep others from it."""
        name = hashlib.sha256(item.encode()).hexdigest()[:32]
        lease, mine = f"item:{sink.mutation.touches[0]}:{name}", secrets.token_bytes(16)
        if not await self.store.swap(lease, None, mine, self.context.remaining() + LEASE_BEYOND):
            self._later(each, "busy", "Another client is changing this item.")
            return
        try:
            if await self._unchanged(outbox, each, sink, item):
                await self._send(outbox, each, sink, values, first=True)
        finally:
            await self.store.delete(lease, mine)

    def _item(self, sink: Sink, each: SyncMutation) -> str | None:
        """The id of the item that a mutation changes, if it can be looked up."""
        name = sink.mutation.item
        if name is None or sink.mutation.touches[0] not in self.views or not isinstance(each.args, dict):
            return None
        return str(each.args[name]) if name in each.args else None

    async def _unchanged(self, outbox: Outbox, each: SyncMutation, sink: Sink, item: str) -> bool:
        """Whether the item is still as the client saw it; settles the mutation otherwise."""
        try:
            row = await self._find(sink, item)
        except ServiceError as error:
            await self._unseen(outbox, each, error)
            return False
        if row is not None and show_version(row.version) == each.if_version:
            return True
        if await self._record(outbox.settle(Result(each.seq, each.id, each.op, "conflict"))):
            self.results.append(result_bytes(each.id, "conflict", row, None, shows=True))
        else:
            self._later(each, "busy", "Another request of this client is under way.")
        return False

    async def _unseen(self, outbox: Outbox, each: SyncMutation, error: ServiceError) -> None:
        """The item could not be looked at, so that nothing was sent."""
        log.warning("sync.lookup", op=each.op, error=str(error))
        what = unseen(error, outbox.in_vain(each.id).misses)
        if what == "rejected":
            status = error.status if isinstance(error, UnexpectedStatus) else 0
            await self._settle(outbox, each, what, problem_document(problem_of(error, frozenset({status}))))
            return
        if what == "missed":
            await self._record(outbox.missed(each.id))
        self._later(each, "unavailable", "The item's version could not be looked up.")

    async def _find(self, sink: Sink, item: str) -> Row | None:
        source, projection = self.views[sink.mutation.touches[0]]
        return await source.find(self.context, projection, item, self.context.deadline)

    async def _send(self, outbox: Outbox, each: SyncMutation, sink: Sink, values: list[Any], *, first: bool) -> None:
        if first and not await self._record(outbox := outbox.begin(each.seq, each.id)):
            self._later(each, "busy", "Another request of this client is under way.")
            return
        strikes = outbox.pending.strikes if outbox.pending is not None else 0
        error: ServiceError | None
        try:
            error, sent = await sink.send(self.context, values, self.context.deadline)
        except Problem as problem:
            await self._settle(outbox, each, "rejected", problem_document(problem))
            return
        except ServiceError as refused:  # a value that no path can carry
            error, sent = refused, True
        mutation = sink.mutation
        status, reached = outcome(
            error,
            sent=sent,
            resendable=mutation.resendable,
            keyed=mutation.key_parameter is not None,
            deletes=mutation.operation.method == "DELETE",
            first=first,
            strikes=strikes,
            refusals=outbox.in_vain(each.id).refusals,
        )
        if status != "retry":
            self.applied = self.applied or status != "rejected"
            await self._settle(outbox, each, status, _said(error, status))
            return
        log.warning("sync.retry", op=each.op, error=str(error))
        if reached:
            await self._record(outbox.struck())
        elif first:
            denied = isinstance(error, UnexpectedStatus) and error.status == HTTPStatus.UNAUTHORIZED
            outbox = outbox.withdrawn()
            await self._record(outbox.refused(each.id) if denied else outbox)
        self._later(each, "unavailable", "The service does not answer; send it again.")

    def _key(self, each: SyncMutation) -> str:
        """The Idempotency-Key: the same for the same mutation of the same client, whoever asks again, and whenever."""
        return hashlib.sha256(f"{self.owner}\n{each.id}".encode()).hexdigest()[:40]

    async def _record(self, outbox: Outbox) -> bool:
        """Write the outbox if nobody else has meanwhile; whether it was written."""
        packed = outbox.dump()
        if not await self.store.swap(f"outbox:{self.owner}", self._stored, packed, TTL):
            return False
        self._stored, self.outbox = packed, outbox
        return True

    async def _settle(
        self,
        outbox: Outbox,
        each: SyncMutation,
        status: Status,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        """Record the final result, then tell it."""
        result = Result(each.seq, each.id, each.op, status, None if problem is None else dict(problem))
        if not await self._record(outbox.settle(result)):
            self._later(each, "busy", "Another request of this client is under way.")
        else:
            await self._tell(each, status, problem)

    async def _tell(self, each: SyncMutation, status: Status, problem: Mapping[str, Any] | None) -> None:
        """The result, of a conflict with the server's item as far as that can be had."""
        sink = self.sinks.get(each.op)
        item = self._item(sink, each) if sink is not None else None
        row, shows = None, False
        if status == "conflict" and sink is not None and item is not None:
            try:
                row, shows = await self._find(sink, item), True
            except ServiceError as error:
                log.warning("sync.lookup", op=each.op, error=str(error))
        self.results.append(result_bytes(each.id, status, row, problem, shows=shows))

    def _later(self, each: SyncMutation, kind: str, detail: str, **extensions: Any) -> None:
        self.retry = True
        self.results.append(result_bytes(each.id, "retry", None, _problem(kind, detail, **extensions), shows=False))


def _problem(kind: str, detail: str, **extensions: Any) -> dict[str, Any]:
    return {"type": TYPE + kind, "detail": detail, **extensions}


def _invalid(error: Exception) -> dict[str, Any]:
    errors = []
    if isinstance(error, ValidationError):
        errors = [
            {"pointer": ("/args/" + "/".join(map(str, entry["loc"])))[:LONGEST], "detail": entry["msg"][:LONGEST]}
            for entry in error.errors(include_url=False, include_input=False, include_context=False)[:10]
        ]
    return _problem("invalid-args", "The arguments are not valid.", errors=errors)


def problem_document(problem: Problem) -> dict[str, Any]:
    """A problem as part of a result."""
    texts = {"type": problem.type, "title": problem.title, "detail": problem.detail or ""}
    return {"status": problem.status} | {name: text[:LONGEST] for name, text in texts.items() if text}


def _said(error: ServiceError | None, status: Status) -> dict[str, Any] | None:
    """What the service said about it: only its status, title and detail reach a client."""
    if status == "applied":
        return None
    if status == "unknown" or not isinstance(error, UnexpectedStatus):
        return _problem("outcome-unknown", "It was sent, and no usable answer came: look whether it was done.")
    return problem_document(problem_of(error, frozenset({error.status})))
