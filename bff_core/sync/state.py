"""All that is known of one client's collections, as one immutable value, and its encoding for the store.

A state is named by its content: what was sent twice is stored once, and a client without news keeps its token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from .enumeration import Enumeration
from .view import Bytes, Doubt, Memo, View, Words

__all__ = ["Entry", "State", "name_of", "pack", "unpack"]

FORMAT = 1
WORD = 8
Buffer: TypeAlias = "Words | Bytes"


@dataclass(frozen=True, slots=True)
class Entry:
    """One collection: what the client has, and the enumeration under way, if one is."""

    view: View
    enumeration: Enumeration | None = None


@dataclass(frozen=True, slots=True)
class State:
    """``todo`` are the collections that the round under way has still to bring; ``ack`` is what was acknowledged."""

    entries: dict[str, Entry] = field(default_factory=dict)
    todo: tuple[str, ...] = ()
    ack: int = 0


def name_of(pieces: Iterable[Buffer]) -> bytes:
    """The name of a state that was packed: 16 bytes."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest()[:16]


def pack(state: State) -> list[Buffer]:
    """A state as the pieces of its bytes: a length, a JSON header, then the arrays, which are not copied."""
    blobs: list[Buffer] = []
    entries = {name: _pack_entry(entry, blobs.append) for name, entry in sorted(state.entries.items())}
    header = json.dumps(
        {"f": FORMAT, "todo": state.todo, "ack": state.ack, "entries": entries}, separators=(",", ":")
    ).encode()
    return [len(header).to_bytes(4, "big"), header, *blobs]


def unpack(packed: bytes) -> State:
    """The state that was packed, in slices of these bytes; raises ``ValueError`` for another format."""
    size = int.from_bytes(packed[:4], "big")
    header = json.loads(packed[4 : 4 + size])
    if header["f"] != FORMAT:
        raise ValueError("a state of another format")
    reader = _Reader(packed, 4 + size)
    entries = {name: _unpack_entry(entry, reader) for name, entry in header["entries"].items()}
    return State(entries, tuple(header["todo"]), header["ack"])


def _pack_entry(entry: Entry, add: Callable[[Buffer], None]) -> dict[str, Any]:
    view, run = entry.view, entry.enumeration
    packed: dict[str, Any] = {
        "n": len(view),
        "ids": len(view.ids),
        "shape": view.shape,
        "through": view.through,
        "doubt": None if view.doubt is None else [view.doubt.digest, view.doubt.since, view.doubt.tries],
    }
    add(view.keys)
    add(view.versions)
    add(view.ids)
    packed["memos"] = [_pack_memo(memo, add) for memo in view.memos]
    if run is not None:
        packed["run"] = {
            "shape": run.shape,
            "through": run.through,
            "cursor": run.cursor,
            "n": run.sent,
            "ids": len(run.earlier[2]) + len(run.ids),
            "partial": list(run.partial.items()),
            "digest": run.digest,
        }
        add(run.seen)
        sent: tuple[Buffer, ...] = (run.keys, run.versions, run.ids)
        for before, since in zip(run.earlier, sent, strict=True):
            add(before)
            add(since)
        packed["run"]["memos"] = [_pack_memo(memo, add) for memo in run.memos]
    return packed


def _unpack_entry(packed: dict[str, Any], reader: _Reader) -> Entry:
    count = packed["n"]
    doubt = None if packed["doubt"] is None else Doubt(*packed["doubt"])
    view = View(
        reader.words(count),
        reader.words(count),
        reader.take(packed["ids"]),
        shape=packed["shape"],
        through=packed["through"],
        doubt=doubt,
    )
    view = replace(view, memos=tuple(_unpack_memo(memo, reader) for memo in packed["memos"]))
    run = packed.get("run")
    if run is None:
        return Entry(view)
    enumeration = Enumeration(
        view,
        run["shape"],
        run["through"],
        run["cursor"],
        bytearray(reader.take(count)),
        earlier=(reader.words(run["n"]), reader.words(run["n"]), reader.take(run["ids"])),
        partial=dict(run["partial"]),
        digest=run["digest"],
    )
    enumeration.resume(_unpack_memo(memo, reader) for memo in run["memos"])
    return Entry(view, enumeration)


def _pack_memo(memo: Memo, add: Callable[[Buffer], None]) -> list[Any]:
    add(memo.keys)
    return [memo.cursor, memo.following, memo.etag, len(memo.keys)]


def _unpack_memo(packed: list[Any], reader: _Reader) -> Memo:
    return Memo(packed[0], packed[1], packed[2], reader.words(packed[3]))


class _Reader:
    """Takes pieces off the bytes, one after the other."""

    def __init__(self, source: bytes, at: int) -> None:
        self._source = memoryview(source)
        self._at = at

    def take(self, size: int) -> Bytes:
        self._at += size
        return self._source[self._at - size : self._at]

    def words(self, count: int) -> Words:
        return memoryview(self.take(count * WORD)).cast("Q")
