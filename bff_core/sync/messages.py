"""What a client sends, and what it is told. The answer's items are bytes already: they are joined, not serialized."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .content import show_version
from .outbox import Status
from .pull import Part
from .view import Row

__all__ = ["Outcome", "SyncAnswer", "SyncMutation", "SyncRequest", "answer_bytes"]

MOST_MUTATIONS = 100
MOST_SEQ = 2**53


class SyncFields(BaseModel):
    """Which fields of a collection's items are wanted; none for all."""

    fields: Annotated[list[str], Field(max_length=100)] = []


class SyncMutation(BaseModel):
    """One write. ``seq`` numbers a client's mutations without gaps, ``id`` is unique; ``if_version`` is the version of
    the item that the user saw."""

    seq: Annotated[int, Field(ge=1, lt=MOST_SEQ)]
    id: Annotated[str, Field(min_length=1, max_length=128)]
    op: Annotated[str, Field(max_length=128)] = ""
    args: Any = {}
    if_version: Annotated[str, Field(max_length=64)] | None = None


class SyncRequest(BaseModel):
    """``client`` names an installation, ``schema`` the layout of its data, ``token`` where it stands; ``have`` what it
    has, by collection and id, when it has lost its token. ``collections`` are those wanted, all when it is missing.
    """

    model_config = ConfigDict(populate_by_name=True)

    client: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
    schema_: Annotated[int, Field(alias="schema", ge=0, lt=2**31)] = 0
    token: Annotated[str, Field(max_length=512)] | None = None
    have: dict[str, dict[str, str]] | None = None
    limit: Annotated[int, Field(ge=1)] = 500
    collections: Annotated[dict[str, SyncFields], Field(max_length=50)] | None = None
    mutations: Annotated[list[SyncMutation], Field(max_length=MOST_MUTATIONS)] = []


class Outcome(BaseModel):
    """How a mutation fared; ``item`` is the server's, of a conflict; ``problem`` says why it was not done."""

    id: str
    status: Status
    item: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None


class SyncPart(BaseModel):
    """What changed in one collection. With ``reset``, forget all of it before."""

    reset: bool = False
    put: list[dict[str, Any]] = []
    deletes: Annotated[list[str], Field(alias="del")] = []
    complete: bool = False


class SyncAnswer(BaseModel):
    """The answer to a sync."""

    mode: str
    token: str
    more: bool
    ack: int
    results: list[Outcome] = []
    collections: dict[str, SyncPart] = {}
    stale: list[str] = []
    poll_after: int


def item_bytes(row: Row) -> bytes:
    """An item with its version, as a client gets it."""
    separator = b"," if len(row.content) > len(b"{}") else b""
    return row.content[:-1] + separator + b'"_v":"' + show_version(row.version).encode() + b'"}'


def answer_bytes(head: Mapping[str, Any], results: Sequence[bytes], parts: Mapping[str, Part]) -> bytes:
    """The whole answer."""
    collections = b",".join(json.dumps(name).encode() + b":" + _part_bytes(part) for name, part in parts.items())
    members = [_dumps(head)[1:-1], b'"collections":{' + collections + b"}"]
    if results:
        members.insert(1, b'"results":[' + b",".join(results) + b"]")
    return b"{" + b",".join(members) + b"}"


def result_bytes(
    id_: str, status: Status, item: Row | None, problem: Mapping[str, Any] | None, *, shows: bool
) -> bytes:
    """One result. ``shows``: the item is told, null for one that is gone."""
    head: dict[str, Any] = {"id": id_, "status": status}
    if problem is not None:
        head["problem"] = problem
    body = _dumps(head)
    if shows:
        body = body[:-1] + b',"item":' + (item_bytes(item) if item is not None else b"null") + b"}"
    return body


def _part_bytes(part: Part) -> bytes:
    members = []
    if part.reset:
        members.append(b'"reset":true')
    if part.put:
        members.append(b'"put":[' + b",".join(map(item_bytes, part.put)) + b"]")
    if part.deletes:
        members.append(b'"del":' + _dumps(part.deletes))
    members.append(b'"complete":true' if part.complete else b'"complete":false')
    return b"{" + b",".join(members) + b"}"


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
