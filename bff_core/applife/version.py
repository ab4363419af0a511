"""Versions of apps and how they are ordered, and the header in which an app says which one it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["HEADER", "PLATFORM", "ClientApp", "Order", "parse_app", "parse_version"]

HEADER = b"app-version"
LONGEST = 64
PARTS = 4
Order: TypeAlias = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]
"""A version as a value that compares: its numbers, whether it is a release, what it is a pre-release of."""

PLATFORM = r"[a-z][a-z0-9-]{0,31}"
"""The form of a platform's name."""
_VERSION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9}){0,3})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]*)?", re.ASCII
)
_APP = re.compile(rf"({PLATFORM})/(\S{{1,{LONGEST}}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClientApp:
    """The app that asks. ``version`` is None when what it said is no version."""

    platform: str
    version: Order | None


def parse_version(text: str) -> Order | None:
    """A version as one that compares, None for what is none. Semantic Versioning 2.0.0 section 11, with one to four
    numbers, as stores have them: ``3.4`` is ``3.4.0.0``; a pre-release is below its release; ``+build`` counts for
    nothing."""
    found = _VERSION.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    numbers += [0] * (PARTS - len(numbers))
    identifiers = found[2].split(".") if found[2] is not None else []
    return tuple(numbers), not identifiers, tuple(_identifier(part) for part in identifiers)


def _identifier(text: str) -> tuple[bool, int, str]:
    return (False, int(text), "") if text.isdigit() else (True, 0, text)


def parse_app(value: bytes) -> ClientApp | None:
    """What an ``App-Version`` header says, ``ios/3.4.1``; None for what cannot be read."""
    found = _APP.fullmatch(value.decode("latin-1").strip())
    return None if found is None else ClientApp(found[1], parse_version(found[2]))
