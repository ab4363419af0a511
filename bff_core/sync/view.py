"""Client view records: which version of which item a client has, one view per collection, 40 bytes an item.

A view is a pair of sorted arrays, so that it is searched without making an object per item. What comes from a store is
read where it lies: a view is made of slices of the store's bytes.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from .content import SIZE, key_of, read_version

__all__ = ["Bytes", "Doubt", "Memo", "Row", "View", "Words", "merge", "words"]

SEPARATOR = b"\n"
Words: TypeAlias = "array[int] | memoryview[int]"
Bytes: TypeAlias = "bytes | bytearray | memoryview[int]"
_BUCKET = 256


def words(values: Iterable[int] = ()) -> array[int]:
    """An array of 64-bit keys or versions."""
    return array("Q", values)


@dataclass(frozen=True, slots=True)
class Row:
    """One item as it would be sent: ``content`` is the projected item, serialized."""

    id: str
    key: int
    version: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Memo:
    """What one answer of a listing held: asked with ``cursor``, followed by ``following``, tagged ``etag``."""

    cursor: str | None
    following: str | None
    etag: str | None
    keys: Words


@dataclass(frozen=True, slots=True)
class Doubt:
    """Items were missing, and it is not believed yet: the enumeration's ``digest``, when that began (Unix time), and
    how many enumerations in a row there have been."""

    digest: str
    since: float
    tries: int


@dataclass(frozen=True, slots=True)
class View:
    """What a client has of one collection.

    ``keys`` are sorted, ``versions`` and ``ids`` (separated by newlines) stand in their order. ``memos`` are the
    answers the view was read from, good for projections of the fingerprint ``shape``; ``through`` is the last mutation
    whose effect it is sure to show.
    """

    keys: Words = field(default_factory=words)
    versions: Words = field(default_factory=words)
    ids: Bytes = b""
    memos: tuple[Memo, ...] = ()
    shape: str = ""
    through: int = 0
    doubt: Doubt | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: int) -> int:
        """Where the item stands, -1 when the client does not have it."""
        index = bisect_left(self.keys, key)
        return index if index < len(self.keys) and self.keys[index] == key else -1

    def names(self, which: Iterable[int] | None = None) -> list[str]:
        """The ids of the items at the indices ``which``, of all by default, in the order of ``keys``."""
        ends = _ends(self.ids, len(self))
        return [str(_name(self.ids, ends, index), "utf-8") for index in (range(len(self)) if which is None else which)]

    @classmethod
    def of(cls, have: Mapping[str, str]) -> View:
        """The view of a client that says itself which versions it has. What no item could be called is passed over."""
        named = {name: read_version(version) for name, version in have.items() if name.isprintable() and name}
        ids = b"".join(name.encode() + SEPARATOR for name in named)
        return merge(View(), [], words(map(key_of, named)), words(named.values()), ids)


def merge(base: View, without: Collection[int], keys: Words, versions: Words, ids: Bytes) -> View:
    """``base`` without the items at the indices ``without``, and with the given ones, of which the later win; each of
    their ``ids`` has a separator behind it.

    It takes 8 bytes an item beside what it is given and what it makes, which is new only where something is.
    """
    places = [base.find(key) for key in keys] if len(keys) < len(base) and not without else [-1]
    if -1 not in places:
        changed = words(base.versions)
        for place, version in zip(places, versions, strict=True):
            changed[place] = version
        return View(base.keys, changed, base.ids)
    made, ends = _Made(base, without), _ends(ids, len(keys))
    order = _order(keys)
    for place, index in enumerate(order):
        key = keys[index]
        if place + 1 == len(order) or keys[order[place + 1]] != key:
            made.put(key, versions[index], _name(ids, ends, index))
    return made.view()


class _Made:
    """A view in the making: what is put comes in the order of keys, and what stood before it in ``base`` with it."""

    def __init__(self, base: View, without: Collection[int]) -> None:
        self._base = base
        self._ends = _ends(base.ids, len(base))
        self._gone: Iterator[int] = iter(sorted(without))
        self._next_gone = next(self._gone, len(base))
        self._at = 0
        self._keys, self._versions, self._ids = words(), words(), bytearray()

    def put(self, key: int, version: int, name: Bytes) -> None:
        place = bisect_left(self._base.keys, key, self._at)
        self._keep(place)
        if place < len(self._base) and self._base.keys[place] == key:
            self._at = place + 1
        self._keys.append(key)
        self._versions.append(version)
        self._ids += name
        self._ids += SEPARATOR

    def view(self) -> View:
        self._keep(len(self._base))
        return View(self._keys, self._versions, memoryview(self._ids)[:-1])

    def _keep(self, end: int) -> None:
        """Take over what ``base`` has before the index ``end``."""
        while self._next_gone < end:
            self._copy(self._next_gone)
            self._at = max(self._at, self._next_gone + 1)
            self._next_gone = next(self._gone, len(self._base))
        self._copy(end)
        self._at = max(self._at, end)

    def _copy(self, end: int) -> None:
        base, start = self._base, self._at
        if start >= end:
            return
        self._keys.frombytes(memoryview(base.keys)[start:end].cast("B"))
        self._versions.frombytes(memoryview(base.versions)[start:end].cast("B"))
        self._ids += memoryview(base.ids)[self._ends[start - 1] + 1 if start else 0 : self._ends[end - 1]]
        self._ids += SEPARATOR


def _ends(ids: Bytes, count: int) -> array[int]:
    """Where each of ``count`` names ends."""
    ends = array("I", (found.start() for found in re.finditer(SEPARATOR, ids)))
    if len(ends) < count:
        ends.append(len(ids))
    return ends


def _name(ids: Bytes, ends: array[int], index: int) -> Bytes:
    return ids[ends[index - 1] + 1 if index else 0 : ends[index]]


def _order(keys: Words) -> array[int]:
    """The indices of ``keys`` in their order, of equal ones in that of the indices. Keys are digests, so that they fill
    buckets evenly, which are sorted one by one: no list of them all is made."""
    bits = (len(keys) // _BUCKET).bit_length()
    shift = SIZE * 8 - bits
    counts = array("I", bytes(4 << bits))
    for key in keys:
        counts[key >> shift] += 1
    ends = array("I", accumulate(counts))
    places = array("I", [0, *ends[:-1]])
    order = array("I", bytes(4 * len(keys)))
    for index, key in enumerate(keys):
        bucket = key >> shift
        order[places[bucket]] = index
        places[bucket] += 1
    start = 0
    for end in ends:
        if end - start > 1:
            order[start:end] = array("I", sorted(order[start:end], key=keys.__getitem__))
        start = end
    return order
