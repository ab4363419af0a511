"""The records and what they say: pure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from bff_core.idempotency.ledger import EXPIRY, MARGIN, Claim, Ledger
from bff_core.idempotency.record import (
    MAX_ANSWER,
    Answer,
    Complete,
    InProgress,
    Uncertain,
    answer_of,
    decide,
    decode,
    encode,
    fingerprint_of,
    is_certain,
)
from bff_core.stores import MemoryKeyValueStore, StoreUnavailable
from bff_core.telemetry import Events

T = TypeVar("T")

digests = st.binary(min_size=32, max_size=32)
answers = st.builds(
    Answer,
    st.integers(200, 599),
    st.lists(st.tuples(st.binary(), st.binary()), max_size=4).map(tuple),
    st.none() | st.binary(),
)
records = (
    st.builds(InProgress, digests, st.binary(min_size=16, max_size=16))
    | st.builds(Uncertain, digests)
    | st.builds(Complete, digests, answers)
)


@given(records)
def test_what_is_stored_is_read(record: InProgress | Uncertain | Complete) -> None:
    assert decode(encode(record)) == record


@pytest.mark.parametrize("stored", [b"", b"1P", b"2C" + bytes(40), b"1C" + bytes(32), b"1C" + bytes(32) + b"[]\n"])
def test_what_another_version_wrote_is_not_guessed(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(stored)


@given(st.lists(st.binary(), max_size=4), st.lists(st.binary(), max_size=4))
def test_fingerprints_of_different_parts_differ(one: list[bytes], other: list[bytes]) -> None:
    """Also where the parts joined are the same bytes."""
    assert (fingerprint_of(*one) == fingerprint_of(*other)) == (one == other)


def test_what_a_request_meets() -> None:
    mine, theirs = bytes(32), b"1" * 32
    answer = Answer(201, (), b"{}")
    assert decide(None, mine) == "begin"
    assert decide(InProgress(mine, b"o"), mine) == "wait"
    assert decide(Uncertain(mine), mine) == "begin"
    assert decide(Complete(mine, answer), mine) == answer
    for record in (InProgress(theirs, b"o"), Uncertain(theirs), Complete(theirs, answer)):
        assert decide(record, mine) == "other"


def test_which_answers_are_certain() -> None:
    assert [status for status in (200, 201, 204, 303, 400, 404, 409, 410, 412, 422) if not is_certain(status)] == []
    assert [status for status in (401, 403, 408, 425, 429, 500, 502, 503, 504) if is_certain(status)] == []


def test_what_is_kept_of_an_answer() -> None:
    """Not what is true of one request only, nor more than fits."""
    headers = [(b"content-type", b"a/b"), (b"server-timing", b"x"), (b"x-request-id", b"1"), (b"set-cookie", b"s")]
    assert answer_of(200, headers, b"x" * MAX_ANSWER).body == b"x" * MAX_ANSWER
    assert answer_of(200, headers, b"x" * (MAX_ANSWER + 1)) == Answer(200, ((b"content-type", b"a/b"),), None)


def now(work: Coroutine[Any, Any, T]) -> T:
    """The memory store never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waits")


class Requests(RuleBasedStateMachine):
    """Clients that send requests again and again, under keys that they mix up; processes that die, answers that are
    never certain, time that passes. Whoever begins is the only one who does, and what was answered is the answer."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.ledger = Ledger("t", "memory://", 2.0, Events(), clock=lambda: self.time)
        self.ledger.open()
        self.lease = 2.0 + MARGIN
        # By key: which request has it, until when; who carries it out, until when; how it was answered.
        self.known: dict[str, tuple[bytes, float]] = {}
        self.holder: dict[str, tuple[bytes, float]] = {}
        self.answered: dict[str, Answer] = {}

    def forget(self) -> None:
        for key, (_, until) in list(self.known.items()):
            if until <= self.time:
                del self.known[key]
                self.holder.pop(key, None)
                self.answered.pop(key, None)

    @rule(target=running, key=st.sampled_from("ab"), body=st.sampled_from([b"x", b"y"]))
    def send(self, key: str, body: bytes) -> Any:
        self.forget()
        found = now(self.ledger.claim(key, fingerprint_of(body)))
        known = self.known.get(key)
        if known is None or (known[0] == body and key not in self.answered and key not in self.holder):
            assert isinstance(found, Claim)
            self.known[key] = body, self.time + self.lease
            self.holder[key] = found.record, self.time + self.lease
            return found
        if known[0] != body:
            assert found == "other"
        elif key in self.answered:
            assert found == self.answered[key]
        else:
            assert found == "wait"
        return multiple()

    @rule(claim=consumes(running), number=st.none() | st.integers())
    def end(self, claim: Claim, number: int | None) -> None:
        """Also long after the lease has ended."""
        self.forget()
        answer = None if number is None else Answer(200, (), b"%d" % number)
        now(self.ledger.settle(claim, answer))
        if self.holder.get(claim.key, (b"",))[0] == claim.record:
            del self.holder[claim.key]
            self.known[claim.key] = self.known[claim.key][0], self.time + EXPIRY
            if answer is not None:
                self.answered[claim.key] = answer

    @rule(claim=consumes(running))
    def die(self, claim: Claim) -> None:
        """And say nothing."""

    @rule(seconds=st.sampled_from([1.0, 20.0, 31.0, 3600.0, 86399.0]))
    def pass_time(self, seconds: float) -> None:
        self.time += seconds


TestRequests = Requests.TestCase


class LosesAnswers(MemoryKeyValueStore):
    """What it was to swap is swapped, or not (``done``); nobody is told in time."""

    def __init__(self, *, done: bool) -> None:
        super().__init__()
        self.done = done

    async def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> bool:
        if self.done:
            await super().swap(key, expected, value, ttl)
        raise StoreUnavailable("no answer in time")


@pytest.mark.parametrize("done", [True, False])
def test_a_claim_whose_answer_was_lost(done: bool) -> None:
    """Is a claim if it was written: else nobody could begin until its lease ends."""

    async def main() -> Any:
        ledger = Ledger("t", "memory://", 2.0, Events())
        ledger._store = LosesAnswers(done=done)
        return await ledger.claim("k", bytes(32))

    if done:
        assert isinstance(asyncio.run(main()), Claim)
    else:
        with pytest.raises(StoreUnavailable):
            asyncio.run(main())


def test_many_at_once_begin_once() -> None:
    async def main() -> list[Any]:
        ledger = Ledger("t", "memory://", 2.0, Events())
        ledger.open()
        return await asyncio.gather(*(ledger.claim("k", bytes(32)) for _ in range(50)))

    found = asyncio.run(main())
    assert sum(isinstance(one, Claim) for one in found) == 1
    assert found.count("wait") == 49
