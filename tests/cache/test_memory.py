"""The store in memory: least recently used goes first, never more than the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.cache import MemoryStore, Stored
from tests.cache.responses import stored

KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])
BOUND = 6000
EMPTY = stored(headers=(), body=b"", etag=None).size


@given(
    st.lists(
        st.tuples(st.just("put"), KEYS, st.integers(0, 2000))
        | st.tuples(st.sampled_from(["get", "delete"]), KEYS, st.just(0))
        | st.tuples(st.just("clear"), st.just(b"a"), st.just(0)),
        max_size=60,
    )
)
def test_is_a_bounded_lru(steps: list[tuple[str, bytes, int]]) -> None:
    """Whatever is done, it holds what a list of entries in order of use would hold, within the bound."""
    store = MemoryStore(BOUND)
    model: dict[bytes, Stored] = {}  # least recently used first

    def total() -> int:
        return sum(entry.size + len(key) for key, entry in model.items())

    for step, key, size in steps:
        if step == "put":
            entry = stored(headers=(), body=bytes(size), etag=None)
            store.put(key, entry)
            model.pop(key, None)
            if 4 * (entry.size + len(key)) <= BOUND:
                model[key] = entry
                while total() > BOUND:
                    del model[next(iter(model))]
        elif step == "get":
            assert store.get(key) is model.get(key)
            if key in model:
                model[key] = model.pop(key)
        elif step == "delete":
            store.delete(key)
            model.pop(key, None)
        else:
            store.clear()
            model.clear()
        assert store.bytes == total() <= BOUND
        assert len(store) == len(model)
    assert all(store.get(key) is entry for key, entry in model.items())


def test_an_entry_may_take_a_quarter() -> None:
    """One of exactly a quarter of the bound is kept, one byte more is not."""
    store = MemoryStore(4 * (EMPTY + 100))
    store.put(b"k", stored(headers=(), body=bytes(99), etag=None))
    assert len(store) == 1
    store.put(b"k", stored(headers=(), body=bytes(100), etag=None))
    assert (len(store), store.bytes, store.get(b"k")) == (0, 0, None)


def test_no_room_at_all() -> None:
    """A bound of nothing keeps nothing; less than nothing is a mistake."""
    store = MemoryStore(0)
    store.put(b"k", stored())
    assert len(store) == 0
    with pytest.raises(ValueError, match="negative"):
        MemoryStore(-1)
