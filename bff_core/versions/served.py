"""A version as it is served: how it is announced, how long it lives, how its errors look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any

from ..errors import DeclarationError
from .changes import Change, ErrorsChanged, PageAdded

__all__ = ["AnyChange", "Version"]

AnyChange = Change | ErrorsChanged | PageAdded
_PATH = re.compile(r"/[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True, init=False)
class Version:
    """A version of the API, by the date (``"2026-05-01"``) on which it came, and the ``changes`` that made it out
    of the version before.

    ``path`` (``"/v2"``) serves it under a path of its own as well. ``deprecated`` and ``sunset`` (dates, UTC; the
    second is when it ends) announce the end, ``guide`` (a URL) tells how to move on. Raises ``DeclarationError``.
    """

    name: str
    changes: tuple[AnyChange, ...]
    path: str | None
    deprecated: date | None
    sunset: date | None
    guide: str | None
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    ends: float

    def __init__(
        self,
        name: str,
        *changes: AnyChange,
        path: str | None = None,
        deprecated: date | None = None,
        sunset: date | None = None,
        guide: str | None = None,
    ) -> None:
        values: dict[str, Any] = {"name": name, "changes": changes, "path": path, "deprecated": deprecated}
        values |= {"sunset": sunset, "guide": guide, "ends": float("inf") if sunset is None else _instant(sunset)}
        values["headers"] = tuple(_announcement(deprecated, sunset, guide))
        for key, value in values.items():
            object.__setattr__(self, key, value)
        self._check()

    def _check(self) -> None:
        try:
            iso = date.fromisoformat(self.name).isoformat()
        except ValueError:
            iso = ""
        if iso != self.name:
            raise DeclarationError(f"version '{self.name}': its name must be a date such as '2026-05-01'")
        if self.path is not None and not _PATH.fullmatch(self.path):
            raise DeclarationError(f"version {self.name}: path='{self.path}' must be one segment such as '/v2'")
        if self.sunset is not None and (self.deprecated is None or self.sunset < self.deprecated):
            raise DeclarationError(f"version {self.name}: sunset= needs a deprecated= that is not after it (RFC 9745)")
        if self.guide is not None and not re.fullmatch(r"https?://[!#-;=?-~]+", self.guide):
            raise DeclarationError(f"version {self.name}: guide='{self.guide}' must be an http URL")

    @property
    def alias(self) -> str:
        """Its short name, if it has a path: ``v2``."""
        return (self.path or "").removeprefix("/")


def _announcement(deprecated: date | None, sunset: date | None, guide: str | None) -> Sequence[tuple[bytes, bytes]]:
    """Deprecation (RFC 9745), Sunset (RFC 8594), and links to what is said about them (RFC 8288)."""
    found: list[tuple[bytes, bytes]] = []
    links: list[str] = []
    if deprecated is not None:
        found.append((b"deprecation", f"@{int(_instant(deprecated))}".encode()))
        links.append("deprecation")
    if sunset is not None:
        found.append((b"sunset", format_datetime(_midnight(sunset), usegmt=True).encode()))
        links.append("sunset")
    if guide is not None:
        found += [(b"link", f'<{guide}>; rel="{relation}"; type="text/html"'.encode()) for relation in links]
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _instant(day: date) -> float:
    return _midnight(day).timestamp()
