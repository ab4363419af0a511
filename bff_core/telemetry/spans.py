"""The spans of one sampled request, as they are noted while it runs. A request that is not sampled has none."""

from __future__ import annotations

import secrets
import time

__all__ = ["Attribute", "Span", "Spans"]

MOST = 1000
Attribute = str | int | float | list[str]


class Span:
    """``kind`` is ``server``, ``internal`` or ``client``; instants are of ``time.monotonic``; ``error`` is
    OpenTelemetry's ``error.type``."""

    __slots__ = ("attributes", "ended", "error", "kind", "name", "parent_id", "span_id", "started")

    def __init__(self, name: str, kind: str, span_id: str, parent_id: str | None, started: float) -> None:
        self.name = name
        self.kind = kind
        self.span_id = span_id
        self.parent_id = parent_id
        self.started = started
        self.ended: float | None = None
        self.error: str | None = None
        self.attributes: dict[str, Attribute] = {}

    def end(self, now: float, error: str | None = None) -> None:
        """It ended, well or not."""
        self.ended = now
        self.error = error


class Spans:
    """All spans of a request (a thousand at the most), seen from the one called ``span_id``: what begins here is its
    child. ``parent_id`` is the caller's span."""

    __slots__ = ("_sections", "parent_id", "records", "span_id")

    def __init__(self, span_id: str, parent_id: str | None = None, records: list[Span] | None = None) -> None:
        self.span_id = span_id
        self.parent_id = parent_id
        self.records: list[Span] = [] if records is None else records
        self._sections: dict[str, Span] = {}

    def begin(self, name: str, kind: str, now: float) -> Span:
        """A new span below this one."""
        span = Span(name, kind, secrets.token_hex(8), self.span_id, now)
        if len(self.records) < MOST:
            self.records.append(span)
        return span

    def section(self, name: str) -> Spans:
        """The spans below section ``name``, for whom its own is begun if it has not been yet."""
        return Spans(self._section(name, time.monotonic()).span_id, self.span_id, self.records)

    def section_ended(self, name: str, started: float, now: float, error: str | None) -> None:
        """Section ``name`` ran from ``started`` until ``now``."""
        span = self._section(name, started)
        span.started = started
        span.end(now, error)

    def _section(self, name: str, started: float) -> Span:
        span = self._sections.get(name)
        if span is None:
            span = self._sections[name] = self.begin(name, "internal", started)
            span.attributes["bff.section"] = name
        return span
