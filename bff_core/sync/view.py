"""Client view records: which version of which item a client has, one view per collection, 40 bytes an item.

A view is a pair of sorted arrays, so that it is read from a store and searched without making an object per item.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .content import key_of, read_version

__all__ = ["Doubt", "Memo", "Row", "View", "merge", "words"]

SEPARATOR = b"\n"


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
    keys: array[int]


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

    keys: array[int] = field(default_factory=words)
    versions: array[int] = field(default_factory=words)
    ids: bytes = b""
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

    def names(self) -> list[str]:
        """The items' ids, in the order of ``keys``."""
        return self.ids.decode().split("\n") if self.keys else []

    @classmethod
    def of(cls, have: Mapping[str, str]) -> View:
        """The view of a client that says itself which versions it has. What no item could be called is passed over."""
        named = {name: read_version(version) for name, version in have.items() if name.isprintable() and name}
        return merge(View(), [], words(map(key_of, named)), words(named.values()), [name.encode() for name in named])


def merge(base: View, without: Collection[int], keys: array[int], versions: array[int], ids: list[bytes]) -> View:
    """``base`` without the items at the indices ``without``, and with the given ones, of which the later win."""
    names = [*(base.ids.split(SEPARATOR) if base.keys else ()), *ids]
    keys, versions, gone = base.keys + keys, base.versions + versions, frozenset(without)
    # The sort is stable: of equal keys the last is the latest.
    order = sorted(range(len(keys)), key=keys.__getitem__)
    kept = [
        index
        for index, after in pairwise([*order, -1])
        if (after < 0 or keys[after] != keys[index]) and index not in gone
    ]
    return View(
        keys=words(keys[index] for index in kept),
        versions=words(versions[index] for index in kept),
        ids=SEPARATOR.join([names[index] for index in kept]),
    )
