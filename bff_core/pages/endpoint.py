"""The way of a page's request: in by its inputs, through its run, out as one document."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError
from starlette.types import Receive, Scope, Send

from ..auth.sessions import FORM
from ..context import RequestContext, current_context
from ..delivery import Deliverer, entity_tag
from ..errors import PROBLEM_JSON, Problem
from ..hardening import Header, Reply, with_defaults
from ..telemetry import Event, PageMeter
from .body import read_form_body, read_json_body, read_optional_json_body
from .disconnect import DisconnectWatcher
from .failure import undeclared
from .fields import Include
from .inputs import RequestInputs, parse_query
from .page_cache import Kept, PageCache
from .paging import CURSOR, next_link, pages_on
from .plan import Plan
from .prefer import MINIMAL, wants_minimal
from .run import DONE, SKIPPED, Bound, Run
from .select import Selection, Selector
from .serving import PRIVATE, PageServices, Serving, page_headers
from .stream import PageStream, Streaming
from .versioned import OlderPage, PageVersions

__all__ = ["PageEndpoint"]

JSON = (b"content-type", b"application/json")
NOT_MODIFIED = 304
NO_CONTENT = 204
SERVICE_UNAVAILABLE = 503
OVERLOADED = "There is more to do than can be done; try again soon."
REFUSAL = Problem(SERVICE_UNAVAILABLE, OVERLOADED).body()
REFUSAL_HEADERS = (
    (b"content-type", PROBLEM_JSON),
    (b"content-length", b"%d" % len(REFUSAL)),
    (b"cache-control", b"no-store"),
    (b"retry-after", b"1"),
)
ADMITTED = "bff.admitted"


class PageEndpoint:
    """The ASGI application of one page; ``serve`` is the same for who knows context and path already."""

    def __init__(
        self,
        plan: Plan,
        inputs: RequestInputs,
        path: str,
        serving: Serving,
        *,
        services: PageServices,
        meter: PageMeter,
        versions: PageVersions | None = None,
    ) -> None:
        serving.check(plan, inputs, versioned=versions is not None)
        self._meter = meter
        self._once = serving.once
        self._streaming = serving.streaming
        self._form = serving.streaming is not None and serving.streaming.form
        read_json = read_optional_json_body if inputs.may_lack_body else read_json_body
        self._read_body = read_form_body if self._form else read_json
        self._greeter = serving.greeter
        self._cache = PageCache(f"{serving.method} {path}", services.memory) if serving.cache else None
        self._compressed = self._cache.compressed if self._cache is not None else None
        # An answer that is recorded is for whoever sends the request again, in whichever coding.
        compress = serving.compress and serving.once is None
        self._safe = serving.method == "GET"
        self._deliverer = Deliverer(services.delivery, tags=self._safe, compress=compress)
        self._headers = page_headers(plan.name, inputs, serving)
        self._pages_on = self._safe and pages_on(plan, inputs)
        clients = services.client
        self._plan = plan
        self._inputs = inputs
        self._selector = Selector(plan)
        self._versions = versions
        self._gate = serving.gate
        self._max_body = services.max_body
        self._shedder = services.shedder
        self._shed_event = Event("OnShed", "warning", plan.name, "LoadShedding", detail=serving.criticality)
        self._events = services.events
        self._criticality = serving.criticality
        self._guard = serving.guard
        self._last_good = services.last_good
        self.private = serving.gate is not None
        self.is_kept = serving.cache and serving.guard is None and versions is None and serving.streaming is None
        self.calls = max(1, sum(section.operation is not None for section in plan.sections))
        self.is_document = serving.streaming is None or serving.streaming.in_schema
        self._path = path
        self._status = serving.status
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
        if self._once is not None and not self._once.begun(scope):
            await self._once.serve(self.serve, scope, receive, send, context, path_params)
            return
        context.route = self._path
        context.meter = meter = self._meter
        meter.in_flight += 1
        if self._streaming is not None:
            await self._meet(self._streaming, scope, context)
        older = self._versions.enter(scope, context) if self._versions is not None and self._gate is None else None
        cache_key, known = b"", None
        if self._cache is not None:
            cache_key = self._cache.key(scope, context.version)
            known = self._cache.get(cache_key) if context.visitor is None else None
        if known is None and self._shedder.level and ADMITTED not in scope and not self._admits():
            raise Problem(503, OVERLOADED, headers={"retry-after": "1"})
        if self._guard is not None:
            scope["path_params"] = path_params  # the key of a limit may be made of them
            await self._guard.enter(scope, context, self._gate)
        elif self._gate is not None:
            await self._gate.enter(scope, context)
        if self._versions is not None and self._gate is not None:
            older = self._versions.enter(scope, context)
        if known is not None:
            await self._send(send, context, self._kept(scope, context, known))
        else:
            await self._make(scope, receive, send, context, path_params, older, cache_key)

    async def _meet(self, streaming: Streaming, scope: Scope, context: RequestContext) -> None:
        context.problem_page = streaming.problem_page
        if self._form:
            scope[FORM] = True
        if self._greeter is not None:
            context.visitor = await self._greeter.visitor(scope)

    async def _make(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        context: RequestContext,
        path_params: dict[str, Any],
        older: OlderPage | None,
        cache_key: bytes,
    ) -> None:
        query = parse_query(scope["query_string"]) if older is None else older.query(parse_query(scope["query_string"]))
        selection = (self._selector if older is None else older.selector).read(query)
        body = await self._read_body(scope, receive, self._max_body) if self._inputs.body is not None else b""
        values = self._template.copy()
        values[self._plan.principal_slot] = context.principal
        values[self._plan.context_slot] = context
        (self._inputs if older is None else older).fill(values, path_params, query, scope["headers"], body)
        if self._once is not None:
            await self._once.claim(scope, context, body)
        run = Run(self._plan, self._bound, context, values, selection.sections, self._last_good)
        # What may have changed something is finished, whoever has left meanwhile.
        watcher = DisconnectWatcher(receive, run, context.exchange) if self._safe else None
        try:
            if self._streaming is not None and self._streaming.takes(scope):
                await self._stream(self._streaming, run, context, selection.fields, scope, send, cache_key)
                return
            await run.complete()
        finally:
            if watcher is not None:
                watcher.stop()
            self._meter.ran(run.state, run.seconds, context.degraded)
        shaped = self._plan.shape(*self._plan.shape_arguments(values))
        timing = (b"server-timing", self._timing(run, context))
        if not self._safe and not context.degraded and wants_minimal(scope["headers"]):
            await self._done(send, context, timing)
            return
        content, tag = self._document(shaped, selection, context, older)
        link = self._link(scope, shaped, older) if self._pages_on else ()
        if context.degraded:
            await self._send(send, context, self._reply(scope, context, content, tag, (timing, *link, PRIVATE)))
            return
        if self._cache is not None and context.principal is None:
            self._cache.put(cache_key, content, tag, link, _still_fresh(run, context))
        await self._send(send, context, self._reply(scope, context, content, tag, (timing, *link, *self._headers)))

    async def _stream(
        self,
        streaming: Streaming,
        run: Run,
        context: RequestContext,
        fields: Include | None,
        scope: Scope,
        send: Send,
        cache_key: bytes,
    ) -> None:
        stream = PageStream(self._plan, run, context, send, self._status, private=self.private, fields=fields)
        failed: BaseException | None = None
        try:
            await streaming.deliver(stream, scope)
            if self._cache is not None and stream.keepable and 0 < _still_fresh(run, context) < math.inf:
                content, mark = streaming.kept(stream)
                self._cache.put(cache_key, content, mark, (), _still_fresh(run, context))
        except BaseException as error:  # noqa: BLE001 - raised below: compiled code must not wait in a handler
            failed = error
        if isinstance(failed, asyncio.CancelledError):
            stream.close()
        # As above: what may have changed something is finished, whatever has become of its answer.
        if not self._safe:
            await stream.ended()
        stream.close()
        if failed is not None:
            raise failed

    def _document(
        self, shaped: BaseModel, selection: Selection, context: RequestContext, older: OlderPage | None
    ) -> tuple[bytes, bytes]:
        """The page as JSON and its entity tag, which is empty for what is not whole."""
        if older is None:
            try:
                content: bytes = self._serialize(shaped, include=selection.fields, by_alias=True, warnings="error")
            except PydanticSerializationError as error:
                raise undeclared(self._plan, error)  # noqa: B904 - it has its cause
        else:
            content = older.serialize(shaped, selection)
        if context.degraded:
            names = [section.name for section in self._plan.sections if section.name in context.degraded]
            return _mark(content, names if older is None else older.degraded(names)), b""
        return content, entity_tag(content) if self._deliverer.tags else b""

    @staticmethod
    def _link(scope: Scope, shaped: Any, older: OlderPage | None) -> tuple[tuple[bytes, bytes], ...]:
        """Where the listing goes on, if it does."""
        cursor = CURSOR if older is None else older.cursor
        return (next_link(scope["query_string"], shaped.next, cursor),) if shaped.next and cursor else ()

    def refuses(self, scope: Scope, headers: Callable[[Scope], tuple[Header, ...]]) -> Reply | None:
        """The answer to a request that is not admitted, made without looking at it; None when it is admitted, or has to
        be looked at."""
        looked_at = self._cache is not None or self._versions is not None or not self.is_document
        if looked_at or self._admits():
            if not looked_at:
                scope[ADMITTED] = True
            return None
        self._meter.refused()
        return SERVICE_UNAVAILABLE, (*headers(scope), *REFUSAL_HEADERS), REFUSAL

    def _admits(self) -> bool:
        if self._shedder.admits(self._criticality):
            return True
        self._meter.shed += 1
        self._events.emit(self._shed_event)
        return False

    async def _done(self, send: Send, context: RequestContext, timing: tuple[bytes, bytes]) -> None:
        context.status = NO_CONTENT
        headers = [timing, *self._headers, MINIMAL, *context.reply_headers]
        await send({"type": "http.response.start", "status": NO_CONTENT, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def known(self, scope: Scope) -> Kept | None:
        """The page that is kept for this request, when it ``is_kept`` and fresh."""
        return None if self._cache is None else self._cache.get(self._cache.key(scope))

    def kept(self, scope: Scope, context: RequestContext, known: Kept) -> Reply:
        """The whole answer with what is ``known``, of a page that ``is_kept``."""
        content, tag, link, age = known
        context.route = self._path
        meter = context.meter = self._meter
        meter.in_flight += 1
        meter.cached += 1
        return self._reply(scope, context, content, tag, ((b"age", b"%d" % age), *link, *self._headers))

    def _kept(self, scope: Scope, context: RequestContext, known: Kept) -> Reply:
        content, tag, link, age = known
        self._meter.cached += 1
        aged = (b"age", b"%d" % age)
        if self._streaming is None:
            return self._reply(scope, context, content, tag, (aged, *link, *self._headers))
        content, own = self._streaming.again(content, tag)
        context.status = self._status
        length = (b"content-length", b"%d" % len(content))
        return self._status, with_defaults([*own, aged, length], context.reply_headers), content

    def _reply(
        self, scope: Scope, context: RequestContext, content: bytes, tag: bytes, headers: tuple[Header, ...]
    ) -> Reply:
        status = self._status
        whole = [*headers, *context.reply_headers]
        if self._deliverer.active:
            status, content, own = self._deliverer.deliver(
                scope["headers"], status, content, tag, self._compressed, scope
            )
            whole += own
        context.status = status
        if status != NOT_MODIFIED:
            whole += (JSON, (b"content-length", b"%d" % len(content)))
        return status, whole, content

    @staticmethod
    async def _send(send: Send, context: RequestContext, reply: Reply) -> None:
        if context.exchange is not None and context.exchange.answer(*reply):
            return
        status, headers, content = reply
        await send({"type": "http.response.start", "status": status, "headers": headers})
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


def _still_fresh(run: Run, context: RequestContext) -> float:
    """Seconds for which a page that is ready now is certainly fresh: as if all answers had come with the request."""
    return run.fresh_for - (time.monotonic() - context.started)


def _mark(content: bytes, degraded: list[str]) -> bytes:
    """``content``, a JSON object, with the member ``_degraded``."""
    member = b'"_degraded":' + json.dumps(degraded, separators=(",", ":")).encode() + b"}"
    return content[:-1] + (b"," if len(content) > 2 else b"") + member  # noqa: PLR2004 - longer than {}
