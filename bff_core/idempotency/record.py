"""What is kept of a request under its Idempotency-Key, and what it says to the next one. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "Answer",
    "Complete",
    "InProgress",
    "Record",
    "Uncertain",
    "Verdict",
    "answer_of",
    "decide",
    "decode",
    "encode",
    "fingerprint_of",
    "is_certain",
]

MAX_ANSWER = 1024 * 1024
KEPT_HEADERS = frozenset(
    {b"cache-control", b"content-language", b"content-type", b"etag", b"last-modified", b"link", b"location"}
)
SERVER_ERROR = 500
UNDECIDED = frozenset({401, 403, 408, 425, 429})


class Answer(NamedTuple):
    """The first answer. ``body`` is None when it was too large to be kept."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None


class InProgress(NamedTuple):
    """``owner`` (16 bytes, anew for each attempt) carries it out until its lease ends."""

    fingerprint: bytes
    owner: bytes


class Uncertain(NamedTuple):
    """It was begun, and how it ended is not known: the same request may be tried again."""

    fingerprint: bytes


class Complete(NamedTuple):
    """It was carried out, with this answer."""

    fingerprint: bytes
    answer: Answer


Record: TypeAlias = InProgress | Uncertain | Complete
Verdict: TypeAlias = Literal["begin", "wait", "other"] | Answer


def decide(found: Record | None, fingerprint: bytes) -> Verdict:
    """What a request meets: ``begin`` (once it has replaced ``found``), ``wait`` while another carries it out,
    ``other`` when the key is that of another request, or the answer that there was."""
    if found is None:
        return "begin"
    if found.fingerprint != fingerprint:
        return "other"
    if isinstance(found, Complete):
        return found.answer
    return "wait" if isinstance(found, InProgress) else "begin"


def is_certain(status: int) -> bool:
    """Whether an answer says for good how the request ended: no 5xx, and no 4xx that another try could change
    (credentials, time, load)."""
    return status < SERVER_ERROR and status not in UNDECIDED


def answer_of(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Answer:
    """As much of an answer as is kept: what is true of it whenever it is given."""
    kept = tuple((name, value) for name, value in headers if name in KEPT_HEADERS)
    return Answer(status, kept, body if len(body) <= MAX_ANSWER else None)


def fingerprint_of(*parts: bytes) -> bytes:
    """SHA-256 of what makes a request the same one."""
    digest = sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


_PROGRESS, _UNCERTAIN, _COMPLETE = b"1P", b"1U", b"1C"  # the form's version, and the state
_FINGERPRINT = slice(2, 34)
_REST = slice(34, None)


def encode(record: Record) -> bytes:
    """As it is stored."""
    if isinstance(record, InProgress):
        return _PROGRESS + record.fingerprint + record.owner
    if isinstance(record, Uncertain):
        return _UNCERTAIN + record.fingerprint
    status, headers, body = record.answer
    head = [status, [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers], body is not None]
    # json.dumps escapes line feeds, so that the first one ends the head.
    return _COMPLETE + record.fingerprint + json.dumps(head).encode() + b"\n" + (body or b"")


def decode(stored: bytes) -> Record:
    """What ``encode`` wrote. Raises ``ValueError`` for anything else, such as a later version's."""
    kind, fingerprint, rest = stored[:2], stored[_FINGERPRINT], stored[_REST]
    if len(fingerprint) == sha256().digest_size:
        if kind == _PROGRESS:
            return InProgress(fingerprint, rest)
        if kind == _UNCERTAIN:
            return Uncertain(fingerprint)
        if kind == _COMPLETE:
            line, _, body = rest.partition(b"\n")
            status, headers, whole = json.loads(line)
            pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
            return Complete(fingerprint, Answer(status, pairs, body if whole else None))
    raise ValueError("this is no record that this version knows")
