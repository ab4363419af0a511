"""The way of a page's request: in by its inputs, through its run, out as one document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from ..auth import Gate
from ..cache import MemoryStore
from ..clients import ServiceClient
from ..context import RequestContext, current_context
from ..delivery import Deliverer, Delivery, check_cache_control, entity_tag
from ..errors import PROBLEM_JSON, DeclarationError, Problem
from ..hardening import Header, Reply
from ..idempotency import Once
from ..limits import Criticality, Guard, Shedder, Turns
from ..telemetry import Event, Events, PageMeter
from .body import read_json_body
from .disconnect import DisconnectWatcher
from .fields import Include
from .inputs import RequestInputs, parse_query
from .last_good import LastGoodValues
from .page_cache import Kept, PageCache
from .plan import Plan
from .prefer import MINIMAL, wants_minimal
from .run import DONE, SKIPPED, Bound, Run
from .select import Selection, Selector
from .stream import PageStream, Streaming
from .versioned import OlderPage, PageVersions

__all__ = ["PageEndpoint", "PageServices", "Serving"]

JSON = (b"content-type", b"application/json")
PRIVATE = (b"cache-control", b"private, no-store")
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


@dataclass(frozen=True, slots=True)
class PageServices:
    """What pages need of their gateway. ``client`` gives a class's client, bound to its service, for the named user;
    ``max_body`` is in bytes; ``memory`` is where whole pages are kept; ``delivery`` says how answers go out."""

    client: Callable[[type[ServiceClient], str], ServiceClient]
    max_body: int
    shedder: Shedder
    turns: Turns
    last_good: LastGoodValues
    events: Events
    memory: MemoryStore
    delivery: Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a page is served: to anybody when ``gate`` is None; each request with an Idempotency-Key once by ``once``; by
    ``streaming`` to whom that takes. For the others see ``Bff.page``."""

    method: str
    status: int
    gate: Gate | None
    criticality: Criticality
    cache: bool
    cache_control: str | None
    compress: bool
    guard: Guard | None
    once: Once | None
    streaming: Streaming | None
    next_link: str | None = None

    def check(self, plan: Plan, inputs: RequestInputs, *, versioned: bool) -> None:
        """Raise ``DeclarationError`` for what does not fit together."""
        if self.once is not None and (self.method == "GET" or self.gate is None):
            raise DeclarationError(
                f"{plan.name}: an Idempotency-Key is its principal's and for what is done once: "
                "not for a public page, not for GET"
            )
        if self.streaming is not None:
            for other, there in (("cache", self.cache), ("idempotency", self.once is not None)):
                if there:
                    raise DeclarationError(
                        f"{plan.name}: a page that is streamed is not kept whole; take {other}= away"
                    )
            if versioned:
                raise DeclarationError(f"{plan.name}: a page that is streamed has no older versions")
        if self.next_link is not None:
            known = {entry.name for entry in plan.inputs}
            if self.next_link not in known or "next" not in plan.model.model_fields or self.cache:
                raise DeclarationError(
                    f"{plan.name}: next_link='{self.next_link}' is for a page that is not kept whole, with that "
                    "parameter, whose answer has a member 'next'"
                )
        if self.cache:
            PageCache.check(plan, inputs, self.method, public=self.gate is None)


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
        self._cache = PageCache(f"{serving.method} {path}", services.memory) if serving.cache else None
        self._compressed = self._cache.compressed if self._cache is not None else None
        # An answer that is recorded is for whoever sends the request again, in whichever coding.
        compress = serving.compress and serving.once is None
        self._safe = serving.method == "GET"
        self._next_link = serving.next_link
        self._deliverer = Deliverer(services.delivery, tags=self._safe, compress=compress)
        self._headers = _page_headers(plan.name, inputs, serving)
        clients = services.client
        self._plan = plan
        self._inputs = inputs
        self._selector = Selector(plan)
        self._versions = versions
        self._gate = serving.gate
        self._max_body = services.max_body
        self._shedder = services.shedder
        self._turns = services.turns
        self._shed_event = Event("OnShed", "warning", plan.name, "LoadShedding", detail=serving.criticality)
        self._events = services.events
        self._criticality = serving.criticality
        self._guard = serving.guard
        self._last_good = services.last_good
        self.private = serving.gate is not None
        self.is_kept = serving.cache and serving.guard is None and versions is None
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
        if self._streaming is not None:
            context.problem_page = self._streaming.problem_page
        meter.in_flight += 1
        older = self._versions.enter(scope, context) if self._versions is not None and self._gate is None else None
        cache_key, known = b"", None
        if self._cache is not None:
            cache_key = self._cache.key(scope, context.version)
            known = self._cache.get(cache_key)
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
        turn = self._turns.enter()
        if turn is not None:
            await turn
        query = parse_query(scope["query_string"]) if older is None else older.query(parse_query(scope["query_string"]))
        selection = (self._selector if older is None else older.selector).read(query)
        body = await read_json_body(scope, receive, self._max_body) if self._inputs.body is not None else b""
        values = self._template.copy()
        values[self._plan.principal_slot] = context.principal
        values[self._plan.context_slot] = context
        (self._inputs if older is None else older).fill(values, path_params, query, scope["headers"], body)
        if self._once is not None:
            await self._once.claim(scope, context, body)
        run = Run(self._plan, self._bound, context, values, selection.sections, self._last_good)
        # What may have changed something is finished, whoever has left meanwhile.
        watcher = DisconnectWatcher(receive, run) if self._safe else None
        try:
            if self._streaming is not None and self._streaming.takes(scope):
                await self._stream(self._streaming, run, context, selection.fields, scope, send)
                return
            await run.complete()
        finally:
            if watcher is not None:
                watcher.stop()
            self._meter.ran(run.state, run.seconds, context.degraded)
        shaped = self._plan.shape(*self._plan.shape_arguments(values))
        timing = (b"server-timing", self._timing(run, context))
        if self._next_link is not None and (following := getattr(shaped, "next", None)) is not None:
            context.reply_headers = (*context.reply_headers, next_link(scope, self._next_link, following))
        if not self._safe and not context.degraded and wants_minimal(scope["headers"]):
            await self._done(send, context, timing)
            return
        content, tag = self._document(shaped, selection, context, older)
        if context.degraded:
            await self._send(send, context, self._reply(scope, context, content, tag, (timing, PRIVATE)))
            return
        if self._cache is not None:
            self._cache.put(cache_key, content, tag, run.fresh_for)
        await self._send(send, context, self._reply(scope, context, content, tag, (timing, *self._headers)))

    async def _stream(
        self,
        streaming: Streaming,
        run: Run,
        context: RequestContext,
        fields: Include | None,
        scope: Scope,
        send: Send,
    ) -> None:
        stream = PageStream(self._plan, run, context, send, self._status, private=self.private, fields=fields)
        try:
            await streaming.deliver(stream, scope)
        finally:
            stream.close()

    def _document(
        self, shaped: BaseModel, selection: Selection, context: RequestContext, older: OlderPage | None
    ) -> tuple[bytes, bytes]:
        """The page as JSON and its entity tag, which is empty for what is not whole."""
        if older is None:
            content: bytes = self._serialize(shaped, include=selection.fields, by_alias=True)
        else:
            content = older.serialize(shaped, selection)
        if context.degraded:
            names = [section.name for section in self._plan.sections if section.name in context.degraded]
            return _mark(content, names if older is None else older.degraded(names)), b""
        return content, entity_tag(content) if self._deliverer.tags else b""

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
        """The whole answer with what is ``known``."""
        context.route = self._path
        context.meter = self._meter
        self._meter.in_flight += 1
        return self._kept(scope, context, known)

    def _kept(self, scope: Scope, context: RequestContext, known: Kept) -> Reply:
        content, tag, age = known
        self._meter.cached += 1
        return self._reply(scope, context, content, tag, ((b"age", b"%d" % age), *self._headers))

    def _reply(
        self, scope: Scope, context: RequestContext, content: bytes, tag: bytes, headers: tuple[Header, ...]
    ) -> Reply:
        status = self._status
        whole = [*headers, *context.reply_headers]
        if self._deliverer.active:
            status, content, own = self._deliverer.deliver(scope["headers"], status, content, tag, self._compressed)
            whole += own
        context.status = status
        if status != NOT_MODIFIED:
            whole += (JSON, (b"content-length", b"%d" % len(content)))
        return status, whole, content

    @staticmethod
    async def _send(send: Send, context: RequestContext, reply: Reply) -> None:
        if context.answer is not None and context.answer(*reply):
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


def next_link(scope: Scope, parameter: str, value: str) -> tuple[bytes, bytes]:
    """``Link`` (RFC 8288) to the following page: the same request with another cursor."""
    query = [pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != parameter]
    target = f"{quote(scope['path'], safe='/')}?{urlencode([*query, (parameter, value)])}"
    return b"link", f'<{target}>; rel="next"'.encode()


def _page_headers(name: str, inputs: RequestInputs, serving: Serving) -> tuple[tuple[bytes, bytes], ...]:
    """Cache-Control and Vary of a page's whole answers; raises ``DeclarationError``."""
    gate, cache_control = serving.gate, serving.cache_control
    private = gate is not None
    if cache_control is None:
        if private:
            return (PRIVATE,)
        kept = serving.method == "GET"
    else:
        if serving.method != "GET":
            raise DeclarationError(f"{name}: only a GET page can have cache_control")
        kept = check_cache_control(cache_control, name, private=private)
    vary = inputs.vary | gate.vary if gate is not None else inputs.vary
    if serving.streaming is not None:
        vary |= {"accept"}
    headers = [] if cache_control is None else [(b"cache-control", cache_control.encode())]
    if kept and vary:
        headers.append((b"vary", ", ".join(sorted(vary)).encode()))
    return tuple(headers)


def _mark(content: bytes, degraded: list[str]) -> bytes:
    """``content``, a JSON object, with the member ``_degraded``."""
    member = b'"_degraded":' + json.dumps(degraded, separators=(",", ":")).encode() + b"}"
    return content[:-1] + (b"," if len(content) > 2 else b"") + member  # noqa: PLR2004 - longer than {}
