"""One enumeration of a collection, compared with what the client has. Pure: answers in, changes out.

It can be interrupted after any item and go on in another process. Only a complete one may delete, and only if what it
missed is believable: see ``finish``.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import BadResponse
from .view import SEPARATOR, Bytes, Doubt, Memo, Row, View, Words, merge, words

__all__ = ["Enumeration", "Finished", "Room", "Verdict"]

GUARD_ITEMS = 10
GUARD_SHARE = 0.1
MOST_TRIES = 3
MOST_ITEMS = 100_000

Verdict = Literal["done", "again", "doubtful"]


@dataclass(slots=True)
class Room:
    """How much more an answer may hold. One item always fits into an empty one."""

    items: int
    size: int
    empty: bool = True

    def take(self, size: int) -> bool:
        """Make place for an item of ``size`` bytes; whether there was any."""
        if not self.empty and (self.items < 1 or self.size < size):
            return False
        self.items -= 1
        self.size -= size
        self.empty = False
        return True

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return not self.empty and (self.items < 1 or self.size <= 0)


@dataclass(frozen=True, slots=True)
class Finished:
    """``view`` is what the client has after this answer; ``deletes`` are ids."""

    view: View
    deletes: list[str]
    verdict: Verdict


@dataclass(slots=True)
class Enumeration:
    """``base`` is what the client had when it began, ``through`` the last mutation that was done by then.

    ``seen`` marks the items of ``base`` that were there; ``keys``, ``versions`` and ``ids`` are what was sent since,
    ``earlier`` the same of the answers before this one; ``partial`` is what was sent of an answer that did not fit as a
    whole; ``digest`` is of all keys in their order.
    """

    base: View
    shape: str
    through: int
    cursor: str | None = None
    seen: bytearray = field(default_factory=bytearray)
    keys: array[int] = field(default_factory=words)
    versions: array[int] = field(default_factory=words)
    ids: bytearray = field(default_factory=bytearray)
    earlier: tuple[Words, Words, Bytes] = field(default_factory=lambda: (words(), words(), b""))
    memos: list[Memo] = field(default_factory=list)
    partial: dict[int, int] = field(default_factory=dict)
    digest: str = ""
    complete: bool = False
    # Of the memos, so that an answer's work does not grow with the answers before it.
    _items: int = field(default=0, compare=False)
    _cursors: set[str] = field(default_factory=set, compare=False)
    _tagged: dict[str | None, Memo] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, base: View, shape: str, through: int) -> Enumeration:
        """A new one, from the start of the listing."""
        return cls(base, shape, through, seen=bytearray(len(base)))

    def memo(self) -> Memo | None:
        """What is known of the answer to be asked for next, if it has a tag that makes the request conditional."""
        if self.partial or self.base.shape != self.shape:
            return None
        if self._tagged is None:
            self._tagged = {memo.cursor: memo for memo in reversed(self.base.memos) if memo.etag}
        return self._tagged.get(self.cursor)

    def resume(self, memos: Iterable[Memo]) -> None:
        """These are the answers so far."""
        for memo in memos:
            self._add(memo)

    def not_modified(self, memo: Memo) -> None:
        """The answer is the one of ``memo``. Raises ``BadResponse`` for a listing without end."""
        self._check(memo.following, len(memo.keys))
        for key in memo.keys:
            self._mark(key)
        self._turn(memo)

    def page(self, rows: Sequence[Row], following: str | None, etag: str | None, room: Room) -> list[Row]:
        """The items of an answer that the client does not have, as far as there is room. When there was too little,
        ``cursor`` stays: the same answer is to be asked for again. Raises ``BadResponse`` for a listing without end."""
        self._check(following, len(rows))
        puts: list[Row] = []
        for row in rows:
            index = self._mark(row.key)
            known = self.base.versions[index] if index >= 0 else 0
            if row.version in (known, self.partial.get(row.key)):
                continue
            if not room.take(len(row.content)):
                return puts
            self.partial[row.key] = row.version
            self.keys.append(row.key)
            self.versions.append(row.version)
            self.ids += row.id.encode() + SEPARATOR
            puts.append(row)
        self._turn(Memo(self.cursor, following, etag, words(row.key for row in rows)))
        return puts

    def finish(self, now: float, confirm_after: float) -> Finished:
        """What a complete enumeration means. Items that were not there are

        - deleted at once when the listing came in one answer;
        - deleted when a second enumeration in a row has the same items in the same order, when it came in several
          answers, between which items may have moved;
        - deleted when that is still so ``confirm_after`` seconds later, when the listing was empty, or when more than
          ten items and more than a tenth of all are missing.

        Until then the client keeps them.
        """
        missing = [index for index, mark in enumerate(self.seen) if not mark]
        if not missing:
            return Finished(self._view([], self.through, None), [], "done")
        last = self.base.doubt
        suspicious = self._suspicious(len(missing))
        same = last is not None and last.digest == self.digest
        # The clocks of two replicas may differ by any amount: a distance has no sign.
        waited = last is not None and abs(now - last.since) >= confirm_after
        if (same and (waited or not suspicious)) or (not suspicious and len(self.memos) == 1):
            return Finished(self._view(missing, self.through, None), self.base.names(missing), "done")
        tries = last.tries % MOST_TRIES + 1 if last is not None else 1
        doubt = Doubt(self.digest, last.since if last is not None else now, tries)
        at_once = (not suspicious or confirm_after == 0) and tries < MOST_TRIES
        return Finished(self._view([], self.base.through, doubt), [], "again" if at_once else "doubtful")

    @property
    def sent(self) -> int:
        """How many items were sent."""
        return len(self.earlier[0]) + len(self.keys)

    def give_up(self) -> View:
        """What the client has when the enumeration cannot go on: what it had and what was sent since."""
        return replace(self._view([], self.base.through, self.base.doubt), memos=())

    def _suspicious(self, missing: int) -> bool:
        empty = not any(memo.keys for memo in self.memos)
        return empty or (missing > GUARD_ITEMS and missing > len(self.base) * GUARD_SHARE)

    def _mark(self, key: int) -> int:
        index = self.base.find(key)
        if index >= 0:
            self.seen[index] = 1
        return index

    def _check(self, following: str | None, items: int) -> None:
        if following is not None and (following == self.cursor or following in self._cursors):
            raise BadResponse("the listing's cursors go round in a circle")
        if items + self._items > MOST_ITEMS:
            raise BadResponse(f"the listing has more than {MOST_ITEMS} items")

    def _turn(self, memo: Memo) -> None:
        self._add(memo)
        self.digest = hashlib.sha256(self.digest.encode() + memo.keys.tobytes()).hexdigest()[:16]
        self.partial = {}
        self.complete = memo.following is None
        self.cursor = memo.following

    def _add(self, memo: Memo) -> None:
        self.memos.append(memo)
        self._items += len(memo.keys)
        if memo.cursor is not None:
            self._cursors.add(memo.cursor)

    def _view(self, without: list[int], through: int, doubt: Doubt | None) -> View:
        view = self.base
        if self.sent or without:
            keys, versions, ids = self._all_sent()
            view = merge(self.base, without, keys, versions, ids)
        memos = tuple(self.memos)
        if memos != self.base.memos and _twice(view, memos):
            # Of an item in two answers it cannot be told which of its versions either tag vouches for.
            memos = tuple(replace(memo, etag=None) for memo in memos)
        return replace(view, memos=memos, shape=self.shape, through=through, doubt=doubt)

    def _all_sent(self) -> tuple[Words, Words, Bytes]:
        keys, versions, ids = self.earlier
        if not len(keys):
            return self.keys, self.versions, self.ids
        return words(keys) + self.keys, words(versions) + self.versions, bytes(ids) + self.ids


def _twice(view: View, memos: Sequence[Memo]) -> bool:
    """Whether an item of the view stands in two answers."""
    marks = bytearray(len(view))
    for memo in memos:
        for key in memo.keys:
            index = view.find(key)
            if index < 0:
                continue
            if marks[index]:
                return True
            marks[index] = 1
    return False
