"""The pull: bring a client's collections up to date, as far as one answer reaches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from ..context import RequestContext
from ..errors import RETRYABLE_STATUSES, BadResponse, ServiceError, UnexpectedStatus
from .declare import Projection
from .enumeration import Enumeration, Room
from .source import Source
from .state import Entry, State
from .view import Row, View

__all__ = ["Part", "Pull"]

log = structlog.get_logger("bff.sync")
SHARE_OF_TIME = 0.6


@dataclass(slots=True)
class Part:
    """What an answer says of one collection."""

    put: list[Row] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    reset: bool = False
    complete: bool = False


class Pull:
    """One request's pull. ``done`` is the last mutation with a result, read before anything is asked for. ``cautious``:
    the client may have more than is known of, so that an empty listing is looked at once more before it is believed.

    After ``run``: ``state`` is what the client has when it has applied ``parts``; ``more`` says that it should ask
    again at once; ``stale`` are the collections that could not be brought up to date, ``wait`` the seconds after which
    to try those again.
    """

    def __init__(
        self,
        state: State,
        wanted: Mapping[str, tuple[Source, Projection]],
        context: RequestContext,
        room: Room,
        done: int,
        clock: Callable[[], float],
        *,
        cautious: bool = False,
    ) -> None:
        self.state = state
        self.parts: dict[str, Part] = {}
        self.stale: list[str] = []
        self.more = False
        self.wait = 0.0
        self._wanted = wanted
        self._context = context
        self._room = room
        self._done = done
        self._clock = clock
        self._cautious = cautious
        self._asked = False
        now = time.monotonic()
        self._until = now + (context.deadline - now) * SHARE_OF_TIME

    async def run(self, touched: Mapping[str, int]) -> None:
        """Bring what the round under way has left, or all. ``touched`` says which mutation was the last to change a
        collection: an enumeration that began before it is followed by another."""
        todo = [name for name in self.state.todo if name in self._wanted] or list(self._wanted)
        left: list[str] = []
        for place, name in enumerate(todo):
            if self._exhausted() or not await self._bring(name, len(todo) - place):
                left.append(name)
        if not left:
            left = [name for name in self._wanted if name not in self.stale and self._lags(name, touched)]
        self.more = bool(left)
        self.state = replace(self.state, todo=tuple(left))

    def _lags(self, name: str, touched: Mapping[str, int]) -> bool:
        entry = self.state.entries.get(name)
        return entry is not None and entry.view.through < touched.get(name, 0)

    def _exhausted(self) -> bool:
        return self._room.full or (self._asked and time.monotonic() > self._until)

    async def _bring(self, name: str, parts: int) -> bool:
        """Whether this collection, the first of so many, is done with in this round."""
        source, projection = self._wanted[name]
        entry = self.state.entries.get(name)
        part = Part(reset=entry is None)
        if entry is not None and entry.enumeration is not None and entry.enumeration.shape != projection.fingerprint:
            entry = Entry(entry.enumeration.give_up())
        base = entry.view if entry is not None else View()
        run = entry.enumeration if entry is not None else None
        run = run or Enumeration.of(base, projection.fingerprint, self._done)
        turned = True
        try:
            while turned and not run.complete and not self._exhausted():
                turned = await self._ask(source, projection, run, part, parts)
        except ServiceError as error:
            self._failed(name, run, part, error)
            return True
        if self._cautious and entry is None and run.complete and not run.sent:
            self._doubt(name, source.collection.confirm_after)
            return True
        self.parts[name] = part
        if run.complete:
            return self._finish(name, run, part, source.collection.confirm_after)
        self._keep(name, Entry(base, run))
        return False

    async def _ask(self, source: Source, projection: Projection, run: Enumeration, part: Part, parts: int) -> bool:
        """Whether the whole answer could be used. One collection of several gets its share of the time that is left,
        so that one that hangs leaves some for the others."""
        now = time.monotonic()
        deadline = now + (self._context.deadline - now) / parts
        memo = run.memo()
        self._asked = True
        page = await source.page(self._context, projection, run.cursor, memo.etag if memo else None, deadline)
        before = len(run.memos)
        if page.rows is None and memo is not None:
            run.not_modified(memo)
        else:
            part.put += run.page(page.rows or [], page.following, page.etag, self._room)
        return len(run.memos) > before

    def _finish(self, name: str, run: Enumeration, part: Part, confirm_after: float) -> bool:
        finished = run.finish(self._clock(), confirm_after)
        part.deletes = finished.deletes
        part.complete = finished.verdict == "done"
        self._keep(name, Entry(finished.view))
        if finished.verdict == "doubtful":
            self._doubt(name, confirm_after)
        return finished.verdict != "again"

    def _doubt(self, name: str, confirm_after: float) -> None:
        self.stale.append(name)
        self.wait = max(self.wait, confirm_after)

    def _failed(self, name: str, run: Enumeration, part: Part, error: ServiceError) -> None:
        """What was sent stays sent. Where an outage interrupted it, the enumeration goes on next time; where the
        service does not know the cursor any more, or makes no sense, it begins anew."""
        log.warning("sync.stale", collection=name, error=str(error))
        self.stale.append(name)
        if not (run.memos or run.sent):
            return
        self.parts[name] = part
        status = error.status if isinstance(error, UnexpectedStatus) else 0
        lost = isinstance(error, BadResponse) or (status and status not in RETRYABLE_STATUSES)
        self._keep(name, Entry(run.give_up()) if lost else Entry(run.base, run))

    def _keep(self, name: str, entry: Entry) -> None:
        self.state = replace(self.state, entries={**self.state.entries, name: entry})
