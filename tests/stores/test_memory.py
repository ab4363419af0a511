"""The store in memory, against a dictionary and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bff_core.stores import MemoryKeyValueStore, StoreUnavailable
from bff_core.stores.memory import _size as size

T = TypeVar("T")

KEYS = st.sampled_from(["", "a", "b", "ä", "\ud800"])
VALUES = st.sampled_from([b"", b"x", b"y", b"z" * 50])
LIFETIMES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0, float("inf")])


def now(call: Coroutine[Any, Any, T]) -> T:
    """What the call answers; it may not wait for anything."""
    try:
        call.send(None)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    raise AssertionError("it waits")


class Model(RuleBasedStateMachine):
    """``there`` says what must be there until when."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 100.0
        self.store = MemoryKeyValueStore(clock=lambda: self.time)
        self.there: dict[str, tuple[bytes, float]] = {}

    def living(self, key: str) -> bytes | None:
        value, end = self.there.get(key, (None, 0.0))
        return value if end > self.time else None

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert now(self.store.get(key)) == self.living(key)

    @rule(key=KEYS, value=VALUES, ttl=LIFETIMES)
    def put(self, key: str, value: bytes, ttl: float) -> None:
        now(self.store.put(key, value, ttl))
        self.there[key] = value, self.time + ttl

    @rule(key=KEYS, expected=st.none() | VALUES, value=VALUES, ttl=LIFETIMES)
    def swap(self, key: str, expected: bytes | None, value: bytes, ttl: float) -> None:
        fits = self.living(key) == expected
        assert now(self.store.swap(key, expected, value, ttl)) is fits
        if fits:
            self.there[key] = value, self.time + ttl

    @rule(key=KEYS, expected=st.none() | VALUES)
    def delete(self, key: str, expected: bytes | None) -> None:
        known = self.living(key)
        fits = known is not None and expected in (None, known)
        assert now(self.store.delete(key, expected)) is fits
        if fits:
            del self.there[key]

    @invariant()
    def bounded(self) -> None:
        """What was overwritten or has ended is not kept for ever, and the sizes add up."""
        assert len(self.store._ends) <= 2 * len(self.store) + 65
        assert self.store.bytes == sum(size(key, value) for key, (value, _) in self.store._values.items())

    @rule()
    def everything(self) -> None:
        now(self.store.put("sweep", b"", 0.5))
        self.there["sweep"] = b"", self.time + 0.5
        living = {key for key in self.there if self.living(key) is not None}
        assert set(self.store._values) == living


TestModel = Model.TestCase


def test_full() -> None:
    """Nothing that lives makes room: writing fails, and says so, until something has ended."""
    time = [0.0]
    store = MemoryKeyValueStore(max_bytes=10_000, clock=lambda: time[0])
    for number in range(10):
        now(store.put(f"{number}", b"x" * 500, 10))
    with pytest.raises(StoreUnavailable, match="full"):
        now(store.put("10", b"x" * 2500, 10))
    assert all(now(store.get(f"{number}")) == b"x" * 500 for number in range(10))
    with pytest.raises(StoreUnavailable, match="full"):
        now(store.swap("new", None, b"x" * 2500, 10))
    with pytest.raises(StoreUnavailable, match="full"):
        now(store.put("0", b"x" * 3000, 10))
    assert now(store.get("0")) == b"x" * 500
    now(store.put("0", b"x" * 400, 10))
    assert now(store.delete("1"))
    now(store.put("new", b"x" * 500, 10))
    time[0] += 10
    now(store.put("large", b"x" * 5000, 10))
    assert len(store) == 1


def test_one_key_over_and_over() -> None:
    """A value that is written for the thousandth time takes no more room than the first."""
    store = MemoryKeyValueStore(clock=lambda: 0.0)
    for _ in range(1000):
        now(store.put("k", b"x", 60))
    first = store.bytes
    assert len(store._ends) < 100
    now(store.put("k", b"x", 60))
    assert store.bytes == first
