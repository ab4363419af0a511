"""Bytes made wrong, for fuzzers: everything random comes from the ``Random`` given, so that a seed says which bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

__all__ = ["cut", "mutated"]


def mutated(random: Random, data: bytes, parts: Sequence[bytes]) -> bytes:
    """``data`` with up to four faults; ``parts`` are what is put into it."""
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        at, kind = random.randrange(len(data) + 1), random.randrange(6)
        if kind == 0:
            data = data[:at] + random.choice(parts) + data[at:]
        elif kind == 1:
            data = data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + data[at + random.randint(1, 8) :]
        elif kind == 3:
            end = at + random.randint(1, 40)
            data = data[:end] + data[at:]
        else:
            lines = data.split(b"\r\n")
            line = random.choice(lines) if kind == 4 else random.choice(parts).rstrip(b"\r\n")
            lines.insert(random.randrange(len(lines) + 1), line)
            data = b"\r\n".join(lines)
    return data


def cut(random: Random, data: bytes) -> list[bytes]:
    """``data`` in pieces, few or many."""
    most = random.choice([0, 0, 1, 2, 5, 30])
    edges = sorted({0, len(data), *(random.randrange(len(data) + 1) for _ in range(most))})
    return [data[start:end] for start, end in pairwise(edges)]
