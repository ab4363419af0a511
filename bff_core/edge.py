"""The edge: the first thing a request meets and the last an answer leaves through. Plain ASGI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .context import RequestContext, use_context
from .errors import PROBLEM_JSON, ClientDisconnected, Problem, Refused, ServiceError
from .forwarded import TrustedProxies
from .hardening import ARRIVED, EXCHANGE, Admission, AnswerHeaders, Header, LimitedBody, Reply, with_defaults
from .limits import Usage
from .pages import PageEndpoint
from .resilience.deadline import parse_timeout
from .table import Direct
from .telemetry import AccessLog, PageMeter, Tracer, log_refused, read_trace
from .versions import Versions

__all__ = ["Edge"]

log = structlog.get_logger("bff.edge")
CLIENT_CLOSED = 499
SERVER_ERROR = 500
POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1
NOSNIFF = b"x-content-type-options"
TOO_LATE = "There was more to do than could be done in time; try again later."


class Edge:
    """Gives each request its context, each answer its request id, each error a problem document, each a log line.

    ``app`` serves what ``serve`` is not asked to. ``deadline`` is in seconds; ``admission`` says what comes in,
    ``headers`` what goes with every answer; ``challenge`` and the members ``sign_in`` of the document go with a 401;
    ``proxies`` may say who the client is; ``meter`` counts what is no page; ``enter`` lets a request of the app in
    before its body is read; errors look as in the version of ``versions`` that the request is for; ``version_gate`` may
    refuse the app that asks; ``usage`` counts what principals ask; ``problem_types`` are those of problems by status;
    ``problem_page`` shows people the problems of what is no page.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        deadline: float,
        admission: Admission,
        headers: AnswerHeaders,
        challenge: str | None,
        access: AccessLog,
        proxies: TrustedProxies,
        meter: PageMeter,
        tracer: Tracer | None,
        enter: Callable[[Scope], Awaitable[None]],
        versions: Versions | None = None,
        sign_in: dict[str, str] | None = None,
        version_gate: Callable[[Scope, RequestContext], None] | None = None,
        usage: Usage | None = None,
        problem_types: Mapping[int, str] | None = None,
        problem_page: Callable[[Problem, RequestContext], tuple[bytes, list[Header]] | None] | None = None,
    ) -> None:
        self._app = app
        self._enter = enter
        self._deadline = deadline
        self._admission = admission
        self.headers = headers
        self._challenge = challenge
        self._access = access
        self._sign_in = sign_in
        self._meter = meter
        self._tracer = tracer
        self._sample_below = 0 if tracer is None else tracer.below
        self._proxies = proxies
        self._version_gate = version_gate
        self._usage = usage
        self._write_problem = partial(_write_problem, problem_types, versions)
        self._problem_page = problem_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket" and not self._admission.admits_websocket(scope):
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})  # before it is accepted: a 403
                return
            await self._app(scope, receive, send)
            return
        context = self._begin(scope)
        use_context(context)

        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                # Of an answer that somebody's middleware has put in the place of a page's, too.
                begun = True
                context.status = message["status"]
                message["headers"] = _completed(message.get("headers", ()), context)
            await send(message)

        failed: Exception | None = None
        try:
            try:
                receive = self._admission.admit(scope, receive)
                if isinstance(receive, LimitedBody):
                    receive.before = partial(self._enter, scope)
                preflight = self._admission.preflight(scope)
                if preflight is None:
                    if self._version_gate is not None:
                        self._version_gate(scope, context)
                    await self._app(scope, receive, answer)
                else:
                    await answer({"type": "http.response.start", "status": 204, "headers": preflight})
                    await answer({"type": "http.response.body", "body": b""})
            except Exception as error:  # noqa: BLE001 - every request is answered
                failed = error
            if failed is not None:
                if not begun:
                    context.status = 0  # of an answer that somebody's middleware has kept to itself
                await self._fail(failed, scope, context, send)
        finally:
            failed = None  # its traceback holds what holds it
            self._end(scope, context)

    async def serve(
        self, endpoint: Direct, path_params: dict[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Have ``endpoint`` answer, without the app's router and its other middleware in between."""
        context = self._begin(scope)
        use_context(context)
        failed: Exception | None = None
        try:
            try:
                receive = self._admission.admit(scope, receive)
                # Taken out: the way back to the request would make a circle of everything that hangs on it.
                context.exchange = scope.pop(EXCHANGE, None)
                if ARRIVED in scope and context.remaining() <= 0:
                    raise Problem(504, TOO_LATE)
                if self._version_gate is not None:
                    self._version_gate(scope, context)
                await endpoint.serve(scope, receive, send, context, path_params)
            except Exception as error:  # noqa: BLE001 - every request is answered
                failed = error
            if failed is not None:
                await self._fail(failed, scope, context, send)
        finally:
            failed = None
            self._end(scope, context)

    def _begin(self, scope: Scope) -> RequestContext:
        started = scope[ARRIVED] if ARRIVED in scope else time.monotonic()
        trace = read_trace(scope["headers"], self._sample_below)
        allowed = self._deadline
        if trace.timeout is not None:
            # A client may be in more of a hurry than we are, never in less.
            asked = parse_timeout(trace.timeout)
            allowed = allowed if asked is None else min(allowed, asked)
        context = RequestContext(
            trace.request_id, trace.trace_id, trace.span_id, trace.headers, started + allowed, started
        )
        context.reply_headers = (*self.headers(scope), (b"x-request-id", trace.request_id.encode()))
        context.scope, context.proxies = scope, self._proxies
        context.write_problem = self._write_problem
        if trace.sampled and self._tracer is not None:
            context.spans = self._tracer.begin(trace)
        return context

    def kept(self, page: PageEndpoint, scope: Scope) -> Reply | None:
        """``page`` as it is kept for this request, whole; None when it is not, or the request has to be looked at."""
        known = page.known(scope)
        if known is None:
            return None
        try:
            if self._admission.admit(scope, _nothing) is not _nothing:
                return None
            context = self._begin(scope)
            if self._version_gate is not None:
                self._version_gate(scope, context)
        except Problem:
            return None
        reply = page.kept(scope, context, known)
        self._end(scope, context)
        return reply

    async def _fail(self, error: Exception, scope: Scope, context: RequestContext, send: Send) -> None:
        """Answer with a problem document, unless an answer has begun; that is for the server to break off."""
        if isinstance(error, (ClientDisconnected, ClientDisconnect)):
            context.status = CLIENT_CLOSED
            return
        if context.status and isinstance(error, ServiceError):
            # An answer that broke off midway. Raised, it has the server break the client's connection as well.
            log.warning("response.broken", request_id=context.request_id, path=scope["path"], error=str(error))
            raise error
        if not isinstance(error, Problem):
            log.error("request.error", request_id=context.request_id, path=scope["path"], exc_info=error)
        if isinstance(error, Refused):
            log_refused(error, scope, context)
        if context.status:
            raise error
        problem = error if isinstance(error, Problem) else Problem(SERVER_ERROR, "Something went wrong here.")
        context.status = problem.status
        await self._send_problem(problem, scope, context, send)

    def _end(self, scope: Scope, context: RequestContext) -> None:
        """The request has been answered: it is counted, traced and logged."""
        for end in context.at_end:
            end()
        now = time.monotonic()
        status, seconds = context.status or CLIENT_CLOSED, now - context.started
        if self._usage is not None and context.principal is not None:
            self._usage.count(context.principal, status)
        meter = context.meter
        if meter is None:
            meter = self._meter
        else:
            meter.in_flight -= 1
        meter.ended(status, seconds, context.degraded, now >= context.deadline)
        if context.spans is not None:
            self._trace(scope["method"], context, status)
        if self._access.enabled:
            self._access.write(
                scope["method"],
                scope["path"],
                context.route,
                status,
                seconds,
                context.request_id,
                context.trace_id,
                context.calls,
                context.degraded,
                context.failed,
            )

    def _trace(self, method: str, context: RequestContext, status: int) -> None:
        if self._tracer is None or context.spans is None:
            return
        attributes: dict[str, Any] = {"http.request.method": method, "http.response.status_code": status}
        if context.route is not None:
            attributes["http.route"] = context.route
        if context.degraded:
            attributes["bff.degraded"] = list(context.degraded)
        name = f"{method} {context.route}" if context.route is not None else method
        error = str(status) if status >= SERVER_ERROR else None
        self._tracer.finish(context.spans, context.trace_id, name, context.started, attributes, error)

    async def _send_problem(self, problem: Problem, scope: Scope, context: RequestContext, send: Send) -> None:
        if problem.status == 401 and self._sign_in is not None:  # noqa: PLR2004 - an HTTP status
            problem.extensions = {**self._sign_in, **problem.extensions}
        body, kind = context.write_problem(problem, scope, context)
        own = [(b"content-type", kind)]
        show = context.problem_page
        if show is None and self._problem_page is not None and context.route is None and _is_for_people(scope):
            show = self._problem_page
        if show is not None:
            body, own = show(problem, context) or (body, own)
        own += [(b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        headers = with_defaults(own, context.reply_headers)
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
        told = any(name == b"www-authenticate" for name, _ in headers)
        if problem.status == 401 and self._challenge is not None and not told:  # noqa: PLR2004 - an HTTP status
            headers.append((b"www-authenticate", self._challenge.encode()))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _write_problem(
    types: Mapping[int, str] | None, versions: Versions | None, problem: Problem, scope: Scope, context: RequestContext
) -> tuple[bytes, bytes]:
    problem.name(types)
    if versions is None:
        return problem.body(context.request_id), PROBLEM_JSON
    return versions.problem(problem, scope, context)


def _is_for_people(scope: Scope) -> bool:
    """Whether a browser opens this address: nothing else asks for HTML by name."""
    return any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])


def _completed(headers: Sequence[Header], context: RequestContext) -> Sequence[Header]:
    """With what goes with every answer; pages and proxies have seen to that themselves."""
    if (b"x-request-id", context.request_id.encode()) in headers and any(name == NOSNIFF for name, _ in headers):
        return headers
    return with_defaults(headers, context.reply_headers)


async def _nothing() -> Message:
    raise RuntimeError("there is no body to read")
