"""Batching: look-ups of one operation that one request starts in the same tick become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..context import RequestContext
from ..errors import BadResponse, BffError
from .bound import BoundOperation

__all__ = ["Batch", "Lookup"]

Fetch = Callable[[Sequence[Any], Callable[[Any, BffError | None], None]], Any]
"""Starts a call with these values; tells its value or error; gives what can be cancelled."""


class Lookup:
    """One look-up of some ids within a batch. ``done(value, error)`` is called once, unless it is cancelled."""

    __slots__ = ("_batch", "_done", "ids")

    def __init__(self, batch: Batch, ids: list[Any], done: Callable[[Any, BffError | None], None]) -> None:
        self._batch = batch
        self._done: Callable[[Any, BffError | None], None] | None = done
        self.ids = ids

    def cancel(self) -> None:
        """The rows are no longer wanted."""
        self._done = None
        self._batch.left(self)

    def tell(self, value: Any, error: BffError | None) -> None:
        """Hand over the rows, or why there are none."""
        done, self._done = self._done, None
        if done is not None:
            done(value, error)


class Batch:
    """Collects look-ups until the loop's next turn, then asks for all their ids: each once, in chunks of the
    operation's limit, and gives each look-up its own rows in the order it asked for them, or what made a chunk with one
    of its ids fail."""

    __slots__ = (
        "_bound",
        "_calls",
        "_context",
        "_errors",
        "_fetch",
        "_key",
        "_lookups",
        "_pending",
        "_rows",
        "_values",
    )

    def __init__(
        self, bound: BoundOperation, context: RequestContext, key: object, values: list[Any], fetch: Fetch
    ) -> None:
        self._bound = bound
        self._context = context
        self._key = key
        self._values = values
        self._fetch = fetch
        self._lookups: list[Lookup] = []
        self._calls: list[Any] = []
        self._pending = 0
        self._rows: dict[Any, Any] = {}
        self._errors: dict[Any, BffError] = {}
        asyncio.get_running_loop().call_soon(self._flush)

    @classmethod
    def of(
        cls, bound: BoundOperation, context: RequestContext, values: list[Any], deadline: float, fetch: Fetch
    ) -> Batch:
        """The batch that this request is collecting for these values (their ids apart), a new one if there is none."""
        index = bound.operation.batch_index
        # Rendered without its ids, a request is told apart as the service would tell it; who has less time goes alone.
        others = [*values[:index], (), *values[index + 1 :]]
        # What is asked for one (or nobody) does not go with another's credentials.
        who = None if context.principal is None else (context.principal.whose, context.principal.token)
        key = (bound, bound.operation.template.render(others), deadline, who)
        batch: Batch | None = context.batches.get(key)
        if batch is None:
            batch = context.batches[key] = cls(bound, context, key, values, fetch)
        return batch

    def add(self, ids: list[Any], done: Callable[[Any, BffError | None], None]) -> Lookup:
        """Look up ``ids`` as well."""
        lookup = Lookup(self, ids, done)
        self._lookups.append(lookup)
        return lookup

    def left(self, lookup: Lookup) -> None:
        """A look-up is no longer wanted; when none is, the calls are cancelled."""
        if lookup in self._lookups:
            self._lookups.remove(lookup)
        if not self._lookups:
            for call in self._calls:
                call.cancel()

    def _flush(self) -> None:
        self._context.batches.pop(self._key, None)
        operation = self._bound.operation
        ids = list(dict.fromkeys(key for lookup in self._lookups for key in lookup.ids))
        chunks = [ids[at : at + operation.batch_limit] for at in range(0, len(ids), operation.batch_limit)]
        self._pending = len(chunks)
        meter = self._bound.policy.meter
        meter.lookups += len(self._lookups)
        meter.batches += len(chunks)
        for chunk in chunks:
            values = list(self._values)
            values[operation.batch_index] = chunk
            try:
                self._calls.append(self._fetch(values, partial(self._fetched, chunk)))
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
                self._fetched(chunk, None, error if isinstance(error, BffError) else BadResponse(type(error).__name__))

    def _fetched(self, chunk: list[Any], rows: Any, error: BffError | None) -> None:
        self._pending -= 1
        if error is None:
            attribute = self._bound.operation.key
            try:
                self._rows |= {getattr(row, attribute): row for row in rows}
            except (AttributeError, TypeError) as wrong:
                error = BadResponse(f"a row has no usable '{attribute}': {type(wrong).__name__}")
        if error is not None:
            self._errors |= dict.fromkeys(chunk, error)
        if not self._pending:
            self._deal()

    def _deal(self) -> None:
        wanted = {key for lookup in self._lookups for key in lookup.ids}
        for missing in sorted(map(str, wanted - self._rows.keys() - self._errors.keys())):
            upstream = self._bound.upstream
            upstream.emit("OnMissing", "information", "Batching", self._bound.operation.name, detail=missing)
        lookups, self._lookups = self._lookups, []
        for lookup in lookups:
            error = (
                next((self._errors[key] for key in lookup.ids if key in self._errors), None) if self._errors else None
            )
            if error is not None:
                lookup.tell(None, error)
            else:
                lookup.tell([self._rows[key] for key in lookup.ids if key in self._rows], None)
