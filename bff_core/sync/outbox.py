"""The mutation outbox of one client: a pure state machine. Mutations are done in the order of their numbers, each once.

What is sent to a service is recorded as pending before; what the service said is recorded before the client hears it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
from typing import Any, Literal

from ..errors import BadResponse, BulkheadFull, CircuitOpen, ConnectFailed, ServiceError, UnexpectedStatus

__all__ = ["Outbox", "Pending", "Place", "Result", "Status", "Unseen", "Vain", "acknowledged", "outcome", "unseen"]

Status = Literal["applied", "conflict", "rejected", "retry", "unknown"]
Place = Literal["next", "resend", "done", "taken", "gap"]
Unseen = Literal["wait", "missed", "rejected"]

NOT_NOW = frozenset({425, 429, 503})
NO_ANSWER = frozenset({502, 504})
CONFLICTS = frozenset({409, 412})
GONE = frozenset({404, 410})
UNDECIDED = frozenset({401, 403})
KEPT = 200
MOST_STRIKES = 5


@dataclass(frozen=True, slots=True)
class Result:
    """How a mutation ended: ``applied``, ``conflict``, ``rejected`` or ``unknown``; ``problem`` says why."""

    seq: int
    id: str
    op: str
    status: Status
    problem: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """A mutation that was, or was about to be, sent; ``strikes`` counts the failures since."""

    seq: int
    id: str
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Vain:
    """What was tried of a mutation before anything was done: how often its item could not be looked at since it was
    sent last (``misses``), and how often its credentials were refused when it was sent (``refusals``)."""

    id: str
    misses: int = 0
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """``done`` is the last number with a final result; of those the last 200 are kept. ``vain`` is of the next
    mutation, or of one that stood in its place before."""

    done: int
    pending: Pending | None = None
    results: tuple[Result, ...] = ()
    vain: Vain | None = None

    def place(self, seq: int, id_: str) -> Place:
        """Where a mutation stands: ``next``, ``resend`` (it was sent, the outcome is not known), ``done``, ``taken``
        (its number was used for another, or it is forgotten), or ``gap`` (an earlier one is missing)."""
        if seq <= self.done:
            return "done" if self.result(seq, id_) is not None else "taken"
        if seq > self.done + 1:
            return "gap"
        if self.pending is None:
            return "next"
        return "resend" if self.pending.id == id_ else "taken"

    def result(self, seq: int, id_: str) -> Result | None:
        """The final result of a mutation, while it is kept."""
        return next((known for known in reversed(self.results) if known.seq == seq and known.id == id_), None)

    def begin(self, seq: int, id_: str) -> Outbox:
        """It is about to be sent; its item was looked at, if that was wanted."""
        vain = self.in_vain(id_)
        return replace(self, pending=Pending(seq, id_), vain=replace(vain, misses=0) if vain.refusals else None)

    def struck(self) -> Outbox:
        """What is pending failed once more, with its outcome unknown."""
        if self.pending is None:
            return self
        return replace(self, pending=replace(self.pending, strikes=self.pending.strikes + 1))

    def in_vain(self, id_: str) -> Vain:
        """What was in vain of this mutation so far."""
        return self.vain if self.vain is not None and self.vain.id == id_ else Vain(id_)

    def missed(self, id_: str) -> Outbox:
        """The mutation's item could not be looked at, once more."""
        vain = self.in_vain(id_)
        return replace(self, vain=replace(vain, misses=vain.misses + 1))

    def refused(self, id_: str) -> Outbox:
        """The mutation was refused for its credentials, once more."""
        vain = self.in_vain(id_)
        return replace(self, vain=replace(vain, refusals=vain.refusals + 1))

    def withdrawn(self) -> Outbox:
        """What was pending has not reached the service."""
        return replace(self, pending=None)

    def settle(self, result: Result) -> Outbox:
        """The next mutation has its final result."""
        return Outbox(result.seq, None, (*self.results, result)[-KEPT:])

    def dump(self) -> bytes:
        """As bytes for the store."""
        document = {
            "done": self.done,
            "pending": None if self.pending is None else asdict(self.pending),
            "results": [[r.seq, r.id, r.op, r.status, r.problem] for r in self.results],
            "vain": None if self.vain is None else asdict(self.vain),
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def load(cls, stored: bytes) -> Outbox:
        """What was dumped."""
        document = json.loads(stored)
        pending = document["pending"]
        results = tuple(Result(*result) for result in document["results"])
        pending = None if pending is None else Pending(**pending)
        vain = document.get("vain")  # what earlier versions counted was of no mutation in particular
        return cls(document["done"], pending, results, None if vain is None else Vain(**vain))


def outcome(
    error: ServiceError | None,
    *,
    sent: bool,
    resendable: bool,
    keyed: bool,
    deletes: bool,
    first: bool,
    strikes: int,
    refusals: int = 0,
) -> tuple[Status, bool]:
    """What the answer to a mutation means, and whether the service may have seen it.

    ``sent``: whether anything went out. ``resendable``: it may be sent again without a second effect; ``keyed``:
    because the service knows it by its key, so that it tells what became of it the first time; ``deletes``: it is a
    DELETE. ``first``: no attempt was made before that may have been carried out, though ``refusals`` were refused for
    their credentials; else ``strikes`` of them failed. An outage is waited for; what fails in the service itself is
    given up as ``unknown`` after five times, so that it does not hold up what comes after it.
    """
    if error is None:
        return "applied", True
    if not sent or isinstance(error, (ConnectFailed, CircuitOpen, BulkheadFull)):
        return "retry", False
    if isinstance(error, UnexpectedStatus):
        if error.status in NOT_NOW:
            return "retry", False
        if error.status in NO_ANSWER:
            return ("retry" if resendable else "unknown"), True
        if error.status in GONE and not first and deletes:
            return "applied", True  # by the attempt before this one, or by somebody else
        if error.status in CONFLICTS:
            # After an attempt whose outcome is not known, a 409 may say that this very attempt is still under way.
            waits = error.status == HTTPStatus.CONFLICT and not first and strikes + 1 < MOST_STRIKES
            return ("retry" if waits else "conflict"), True
        if error.status == HTTPStatus.UNAUTHORIZED:  # credentials are renewed, a write that is refused is lost
            if first and refusals + 1 < MOST_STRIKES:
                return "retry", False
            if not first and resendable and strikes + 1 < MOST_STRIKES:
                return "retry", True
        if error.status < HTTPStatus.INTERNAL_SERVER_ERROR and error.status != HTTPStatus.REQUEST_TIMEOUT:
            # A refusal says nothing about the attempt before it, unless the service knows that one.
            certain = first or (keyed and error.status not in UNDECIDED)
            return ("rejected" if certain else "unknown"), True
    return ("retry" if resendable and strikes + 1 < MOST_STRIKES else "unknown"), True


def unseen(error: ServiceError, misses: int) -> Unseen:
    """What it means that the item of a mutation, of which nothing was sent, could not be looked at, as often as
    ``misses`` before: an outage is waited for; what fails in the service itself, five times, or is refused, must not
    hold up what comes after it."""
    if isinstance(error, UnexpectedStatus):
        if error.status in NOT_NOW | NO_ANSWER | {HTTPStatus.REQUEST_TIMEOUT}:
            return "wait"
        client = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        if client and error.status != HTTPStatus.UNAUTHORIZED:
            return "rejected"
    elif not isinstance(error, BadResponse):
        return "wait"
    return "missed" if misses + 1 < MOST_STRIKES else "rejected"


def acknowledged(outbox: Outbox, known: int, through: Mapping[str, int], touches: Mapping[str, Collection[str]]) -> int:
    """The last number whose effect, and that of all before it, is in what the client was sent. ``through`` gives it for
    each of its collections, ``touches`` the collections of each mutation."""
    for result in outbox.results:
        if result.seq <= known or result.status == "rejected":
            continue
        if any(through.get(name, result.seq) < result.seq for name in touches.get(result.op, ())):
            return result.seq - 1
    return max(known, outbox.done)
