"""``POST /batch``: several GET pages in one request, each with its own status, look-ups of all of them together."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any
from urllib.parse import unquote

import structlog
from fastapi import Body
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

from ..auth import Gate
from ..context import RequestContext, current_context, use_context
from ..delivery import Deliverer
from ..errors import DeclarationError, Problem, Refused
from ..limits import TAKEN, Guard
from ..table import EndpointTable
from ..telemetry import log_refused
from .body import read_json_body
from .endpoint import PageEndpoint
from .route import SECURITY, ProblemDocument
from .serving import PageServices

__all__ = ["BatchRoute"]

log = structlog.get_logger("bff.batch")
PRIVATE = (b"cache-control", b"private, no-store")
# Of the request that brings the batch, not of what it asks for.
_NOT_PASSED = frozenset({
    b"accept", b"accept-encoding", b"content-encoding", b"content-length", b"content-type", b"if-none-match", b"prefer",
    b"transfer-encoding",
})  # fmt: skip
_NOT_SHARED = ("path_params", "route", TAKEN)
_SHOWN = frozenset({b"age", b"cache-control", b"etag", b"link", b"retry-after"})
_PROBLEMS = {
    400: "The request is not usable.",
    401: "Credentials are missing or not valid.",
    403: "This is not allowed.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request is no batch.",
    429: "A limit is used up; `Retry-After` says when to come again.",
}


class BatchItem(BaseModel):
    """One page: its path and query, and the entity tag of the answer that the client has."""

    model_config = ConfigDict(extra="forbid")

    path: Annotated[str, Field(pattern=r'^/[!"$-~]*$', max_length=4096)]
    etag: Annotated[str, Field(pattern=r"^[!-~]*$", max_length=256)] | None = None


class BatchAnswerItem(BaseModel):
    """What the page answered by itself; ``body`` is null when there is none."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any] | None


class BatchAnswer(BaseModel):
    """The answers in the order of the items."""

    items: list[BatchAnswerItem]


class BatchRoute(APIRoute):
    """Serves batches of up to ``max_items`` of the pages in ``routes``.

    Each item passes its own page's gate, limits and shedding, and counts; the batch counts as one more under ``guard``.
    They share one deadline and the look-ups that wait to be sent together; the private ones, the principal as well.
    ``check`` raises a problem for a target that would not be admitted by itself; ``gate`` is asked once, when an item's
    page is private. Raises ``DeclarationError`` when ``max_items`` lets nothing through.
    """

    def __init__(
        self,
        path: str,
        routes: Sequence[BaseRoute],
        max_items: int,
        *,
        check: Callable[[Scope], None],
        gate: Gate | None,
        guard: Guard | None,
        services: PageServices,
    ) -> None:
        if max_items < 1:
            raise DeclarationError(f"'{path}': max_items={max_items} lets nothing through")
        items: Any = Field(min_length=1, max_length=max_items)
        model = create_model("BatchRequest", __config__=ConfigDict(extra="forbid"), items=(list[BatchItem], items))

        async def batch(**_: Any) -> None:
            raise Problem(500)

        body = inspect.Parameter("batch", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[model, Body()])
        batch.__signature__ = inspect.Signature([body])  # type: ignore[attr-defined]  # for OpenAPI, it is never called

        super().__init__(
            path,
            batch,
            methods=["POST"],
            name="Batch",
            summary=f"Up to {max_items} GET pages in one request.",
            response_model=BatchAnswer,
            openapi_extra={"security": [*gate.requirements(SECURITY), {}]} if gate is not None else None,
            responses={
                code: {"model": ProblemDocument, "description": text, "content": {"application/problem+json": {}}}
                for code, text in _PROBLEMS.items()
            },
        )
        self.app = _BatchEndpoint(path, routes, model, check, gate, guard, services)


class _BatchEndpoint:
    """The ASGI application of a batch."""

    def __init__(
        self,
        path: str,
        routes: Sequence[BaseRoute],
        model: type[Any],
        check: Callable[[Scope], None],
        gate: Gate | None,
        guard: Guard | None,
        services: PageServices,
    ) -> None:
        self._path = path
        self._model = model
        self._routes = routes
        self._table = EndpointTable(())
        self._check = check
        self._gate = gate
        # A body is looked at when whoever sends it may send one; whether credentials are needed is known after that.
        self._before = None if guard is None or guard.before is None else Guard(before=guard.before)
        self._guard = None if guard is None else Guard(after=guard.after)
        self._services = services
        self._deliverer = Deliverer(services.delivery, tags=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = current_context()
        context.route = self._path
        if self._before is not None:
            await self._before.enter(scope, context, None)
        items = self._parse(await read_json_body(scope, receive, self._services.max_body))
        headers = [header for header in scope["headers"] if header[0] not in _NOT_PASSED]
        asked = [self._item(item, scope, headers) for item in items]
        gate = self._gate if any(item.page is not None and item.page.private for item in asked) else None
        # Who it is, is found out once: the pages' own gates take the context's principal.
        if self._guard is not None:
            await self._guard.enter(scope, context, gate)
        elif gate is not None:
            await gate.enter(scope, context)
        tasks = [asyncio.ensure_future(item.answer(context)) for item in asked]
        try:
            answers = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        content = b'{"items":[%b]}' % b",".join(answers)
        status, content, own = self._deliverer.deliver(scope["headers"], 200, content, b"")
        length = (b"content-length", b"%d" % len(content))
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"content-type", b"application/json"), length, PRIVATE, *own]})
        await send({"type": "http.response.body", "body": content})

    def _parse(self, body: bytes) -> list[BatchItem]:
        try:
            items: list[BatchItem] = self._model.model_validate_json(body).items
        except ValidationError as error:
            wrong = [
                {"in": "body", "pointer": "/" + "/".join(map(str, entry["loc"])), "detail": entry["msg"]}
                for entry in error.errors(include_url=False, include_input=False, include_context=False)[:20]
            ]
            raise Problem(422, "The request is no batch.", errors=wrong) from None
        return items

    def _item(self, item: BatchItem, scope: Scope, headers: list[tuple[bytes, bytes]]) -> _Item:
        raw, _, query = item.path.partition("?")
        if item.etag is not None:
            headers = [*headers, (b"if-none-match", item.etag.encode())]
        own: Scope = {
            **scope,
            "method": "GET",
            "path": unquote(raw),
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }
        for name in _NOT_SHARED:
            own.pop(name, None)
        try:
            self._check(own)
        except Problem as problem:
            return _Item(own, None, {}, problem)
        if self._table.size != len(self._routes):
            self._table = EndpointTable(self._routes)
        found = self._table.find(own)
        if found is None or not isinstance(found[0], PageEndpoint) or not found[0].is_document:
            return _Item(own, None, {}, Problem(404, "There is no such page."))
        return _Item(own, found[0], found[1], None)


class _Item:
    """One page of a batch, and what it says."""

    __slots__ = ("_body", "_headers", "_params", "_problem", "_scope", "page")

    def __init__(
        self, scope: Scope, page: PageEndpoint | None, params: dict[str, Any], problem: Problem | None
    ) -> None:
        self.page = page
        self._scope = scope
        self._params = params
        self._problem = problem
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def answer(self, whole: RequestContext) -> bytes:
        """The item's answer as JSON. All of a request's items share its deadline and the look-ups that are waiting to
        be sent together; those of private pages, its principal. A public page is nobody's, as it is by itself."""
        context = RequestContext(
            whole.request_id, whole.trace_id, whole.span_id, whole.headers, whole.deadline, time.monotonic()
        )
        if self.page is not None and self.page.private:
            context.principal = whole.principal
        context.batches, context.calls = whole.batches, whole.calls
        context.scope, context.proxies, context.spans = self._scope, whole.proxies, whole.spans
        context.write_problem = whole.write_problem
        use_context(context)
        try:
            if self._problem is not None or self.page is None:
                raise self._problem or Problem(404)
            await self.page.serve(self._scope, _never, self._send, context, self._params)
        except Exception as error:  # noqa: BLE001 - every item is answered
            self._fail(error, context)
        finally:
            self._end(context)
            for section, reason in (context.failed or {}).items():
                whole.note_failure(f"{context.route} {section}", reason)
        return self._render(context.status)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._headers = message["headers"]
        else:
            self._body += message["body"]

    def _fail(self, error: Exception, context: RequestContext) -> None:
        if isinstance(error, Refused):
            log_refused(error, self._scope, context)
        if not isinstance(error, Problem):
            log.error("request.error", request_id=context.request_id, path=self._scope["path"], exc_info=error)
            error = Problem(500, "Something went wrong here.")
        context.status = error.status
        self._headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in error.headers.items()]
        self._body, _ = context.write_problem(error, self._scope, context)

    @staticmethod
    def _end(context: RequestContext) -> None:
        for end in context.at_end:
            end()
        if context.meter is not None:
            now = time.monotonic()
            context.meter.in_flight -= 1
            context.meter.ended(context.status, now - context.started, context.degraded, now >= context.deadline)

    def _render(self, status: int) -> bytes:
        shown = {name.decode(): value.decode("latin-1") for name, value in self._headers if name in _SHOWN}
        headers = json.dumps(shown, separators=(",", ":")).encode()
        return b'{"status":%d,"headers":%b,"body":%b}' % (status, headers, self._body or b"null")


async def _never() -> Message:
    # A client that leaves: what is being read for it is read to its end, which is the deadline at the latest.
    await asyncio.Event().wait()
    raise RuntimeError("nothing sets this event")
