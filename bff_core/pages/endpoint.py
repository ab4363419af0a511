"""The way of a page's request: in by its inputs, through its run, out as one document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from ..auth import Gate
from ..cache import MemoryStore
from ..clients import ServiceClient
from ..context import RequestContext, current_context
from ..errors import DeclarationError, Problem
from ..limits import Criticality, Guard, Shedder
from ..telemetry import Event, Events, PageMeter
from .body import read_json_body
from .disconnect import DisconnectWatcher
from .inputs import RequestInputs, parse_query
from .last_good import LastGoodValues
from .page_cache import PageCache
from .plan import Plan
from .run import DONE, SKIPPED, Bound, Run
from .select import Selector
from .stream import Delivery, PageStream

__all__ = ["PageEndpoint", "PageServices"]

JSON = (b"content-type", b"application/json")
PRIVATE = (b"cache-control", b"private, no-store")


@dataclass(frozen=True, slots=True)
class PageServices:
    """What pages need of their gateway. ``client`` gives a class's client, bound to its service, for the named user;
    ``max_body`` is in bytes; ``memory`` is where whole pages are kept."""

    client: Callable[[type[ServiceClient], str], ServiceClient]
    max_body: int
    shedder: Shedder
    last_good: LastGoodValues
    events: Events
    memory: MemoryStore


class PageEndpoint:
    """The ASGI application of one page; ``serve`` is the same for who knows context and path already."""

    def __init__(
        self,
        plan: Plan,
        inputs: RequestInputs,
        path: str,
        method: str,
        status: int,
        *,
        gate: Gate | None,
        criticality: Criticality,
        cache: bool,
        services: PageServices,
        meter: PageMeter,
        guard: Guard | None,
        delivery: Delivery | None,
    ) -> None:
        self._meter = meter
        self._delivery = delivery
        self._vary = ((b"vary", b"accept"),) if delivery is not None else ()
        if cache and delivery is not None:
            raise DeclarationError(f"{plan.name}: a page that is streamed is not kept as a whole; take cache= away")
        if cache:
            PageCache.check(plan, inputs, method, public=gate is None)
        self._cache = PageCache(f"{method} {path}", services.memory) if cache else None
        clients = services.client
        self._plan = plan
        self._inputs = inputs
        self._selector = Selector(plan)
        self._gate = gate
        self._max_body = services.max_body
        self._shedder = services.shedder
        self._events = services.events
        self._criticality = criticality
        self._guard = guard
        self._last_good = services.last_good
        self._watches = method == "GET"
        self._path = path
        self._status = status
        self._template = list(plan.template)
        for slot, client in plan.clients.items():
            self._template[slot] = clients(client, plan.name)
        self._bound: Bound = tuple(
            None
            if section.operation is None
            else clients(section.operation.owner, f"{plan.name}.{section.name}").bound[section.operation.name]
            for section in plan.sections
        )
        self._serialize = plan.model.__pydantic_serializer__.to_json
        self._labels = [f"{section.name};dur=" for section in plan.sections]
        self._timing_format = "".join(f"{label}%.1f, " for label in self._labels).encode() + b"total;dur=%.1f"
        self._all_done = [DONE] * len(plan.sections)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(scope, receive, send, current_context(), scope["path_params"])

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, path_params: dict[str, Any]
    ) -> None:
        """Answer one request."""
        context.route = self._path
        context.meter = meter = self._meter
        if self._delivery is not None:
            context.problem_page = self._delivery.problem_page
        meter.in_flight += 1
        cache_key, known = b"", None
        if self._cache is not None:
            cache_key = self._cache.key(scope)
            known = self._cache.get(cache_key)
        if known is None and not self._shedder.admits(self._criticality):
            meter.shed += 1
            self._events.emit(Event("OnShed", "warning", self._plan.name, "LoadShedding", detail=self._criticality))
            raise Problem(503, "There is more to do than can be done; try again soon.", headers={"retry-after": "1"})
        if self._guard is not None:
            scope["path_params"] = path_params  # the key of a limit may be made of them
            await self._guard.enter(scope, context, self._gate)
        elif self._gate is not None:
            await self._gate.enter(scope, context)
        if known is not None:
            content, age = known
            meter.cached += 1
            await self._answer(send, context, content, (b"age", b"%d" % age))
            return
        query = parse_query(scope["query_string"])
        selection = self._selector.read(query)
        body = await read_json_body(scope, receive, self._max_body) if self._inputs.body is not None else b""
        values = self._template.copy()
        values[self._plan.principal_slot] = context.principal
        values[self._plan.context_slot] = context
        self._inputs.fill(values, path_params, query, scope["headers"], body)
        run = Run(self._plan, self._bound, context, values, selection.sections, self._last_good)
        # What may have changed something is finished, whoever has left meanwhile.
        watcher = DisconnectWatcher(receive, run) if self._watches else None
        try:
            if self._delivery is not None and self._delivery.takes(scope):
                await self._stream(self._delivery, run, context, selection.fields, scope, send)
                return
            await run.complete()
        finally:
            if watcher is not None:
                watcher.stop()
            meter.ran(run.state, run.seconds, context.degraded)
        content = self._document(run, context, selection.fields, cache_key)
        timing = (b"server-timing", self._timing(run, context))
        if self._gate is not None or context.degraded:
            await self._answer(send, context, content, timing, PRIVATE)
        else:
            await self._answer(send, context, content, timing)

    def _document(self, run: Run, context: RequestContext, fields: set[str] | None, cache_key: bytes) -> bytes:
        shaped = self._plan.shape(*self._plan.shape_arguments(run.values))
        content = self._serialize(shaped, include=fields, by_alias=True)
        if context.degraded:
            content = _mark(
                content, [section.name for section in self._plan.sections if section.name in context.degraded]
            )
        elif self._cache is not None:
            self._cache.put(cache_key, content, run.fresh_for)
        return content

    async def _stream(
        self,
        delivery: Delivery,
        run: Run,
        context: RequestContext,
        fields: set[str] | None,
        scope: Scope,
        send: Send,
    ) -> None:
        private = self._gate is not None
        stream = PageStream(self._plan, run, context, send, self._status, private=private, fields=fields)
        try:
            await delivery.deliver(stream, scope)
        finally:
            stream.close()

    async def _answer(self, send: Send, context: RequestContext, content: bytes, *headers: tuple[bytes, bytes]) -> None:
        context.status = self._status
        length = (b"content-length", b"%d" % len(content))
        await send(
            {
                "type": "http.response.start",
                "status": self._status,
                "headers": [JSON, length, *headers, *self._vary, *context.reply_headers],
            }
        )
        await send({"type": "http.response.body", "body": content})

    def _timing(self, run: Run, context: RequestContext) -> bytes:
        """Server-Timing (W3C): milliseconds per section that ran, and for the whole page."""
        state = run.state
        total = (time.monotonic() - context.started) * 1000
        if state == self._all_done:
            return self._timing_format % (*[seconds * 1000 for seconds in run.seconds], total)
        entries = [
            f"{label}{seconds * 1000:.1f}" + ("" if state[index] == DONE else ';desc="degraded"')
            for index, (label, seconds) in enumerate(zip(self._labels, run.seconds, strict=True))
            if state[index] != SKIPPED
        ]
        entries.append(f"total;dur={total:.1f}")
        return ", ".join(entries).encode()


def _mark(content: bytes, degraded: list[str]) -> bytes:
    """``content``, a JSON object, with the member ``_degraded``."""
    member = b'"_degraded":' + json.dumps(degraded, separators=(",", ":")).encode() + b"}"
    return content[:-1] + (b"," if len(content) > 2 else b"") + member  # noqa: PLR2004 - longer than {}
