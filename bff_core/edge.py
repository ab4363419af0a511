"""The edge: the first thing a request meets and the last an answer leaves through. Plain ASGI."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .context import RequestContext, use_context
from .errors import PROBLEM_JSON, Problem
from .pages.body import ClientDisconnected
from .resilience.deadline import parse_timeout
from .telemetry import PageMeter, Tracer, read_trace

__all__ = ["Edge"]

log = structlog.get_logger("bff.access")
CLIENT_CLOSED = 499
SERVER_ERROR = 500


class Edge:
    """Gives each request its context, each answer its request id, each error a problem document, each a log line.

    ``deadline`` is in seconds, ``max_query`` in bytes; ``challenge`` goes with a 401; ``meter`` counts what is no page.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        deadline: float,
        max_query: int,
        challenge: str | None,
        meter: PageMeter,
        tracer: Tracer | None,
    ) -> None:
        self._app = app
        self._meter = meter
        self._tracer = tracer
        self._sample_below = 0 if tracer is None else tracer.below
        self._deadline = deadline
        self._max_query = max_query
        self._challenge = challenge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        trace = read_trace(scope["headers"], self._sample_below)
        allowed = self._deadline
        if trace.timeout is not None:
            # A client may be in more of a hurry than we are, never in less.
            asked = parse_timeout(trace.timeout)
            allowed = allowed if asked is None else min(allowed, asked)
        context = RequestContext(
            trace.request_id, trace.trace_id, trace.span_id, trace.headers, started + allowed, started
        )
        if trace.sampled and self._tracer is not None:
            context.spans = self._tracer.begin(trace)
        use_context(context)
        request_id = (b"x-request-id", trace.request_id.encode())
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), request_id]
            await send(message)

        try:
            if len(scope["query_string"]) > self._max_query:
                raise Problem(414, f"The query is longer than {self._max_query} bytes.")
            await self._app(scope, receive, answer)
        except Problem as problem:
            if status:
                raise
            await self._send_problem(problem, context, answer)
        except ClientDisconnected:
            status = CLIENT_CLOSED
        except Exception:
            log.exception("request.error", request_id=context.request_id, path=scope["path"])
            if status:
                raise
            await self._send_problem(Problem(SERVER_ERROR, "Something went wrong here."), context, answer)
        finally:
            self._count(context, status or CLIENT_CLOSED)
            if context.spans is not None:
                self._trace(scope, context, status or CLIENT_CLOSED)
            _log(scope, context, status)

    def _count(self, context: RequestContext, status: int) -> None:
        now = time.monotonic()
        meter = context.meter
        if meter is None:
            meter = self._meter
        else:
            meter.in_flight -= 1
        meter.ended(status, now - context.started, degraded=bool(context.degraded), late=now >= context.deadline)

    def _trace(self, scope: Scope, context: RequestContext, status: int) -> None:
        if self._tracer is None or context.spans is None:
            return
        attributes: dict[str, Any] = {"http.request.method": scope["method"], "http.response.status_code": status}
        if context.route is not None:
            attributes["http.route"] = context.route
        if context.degraded:
            attributes["bff.degraded"] = list(context.degraded)
        name = f"{scope['method']} {context.route}" if context.route is not None else scope["method"]
        error = str(status) if status >= SERVER_ERROR else None
        self._tracer.finish(context.spans, context.trace_id, name, context.started, attributes, error)

    async def _send_problem(self, problem: Problem, context: RequestContext, send: Send) -> None:
        body = problem.body(context.request_id)
        headers = [
            (b"content-type", PROBLEM_JSON),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in problem.headers.items()]
        if problem.status == 401 and self._challenge is not None:  # noqa: PLR2004 - an HTTP status
            headers.append((b"www-authenticate", self._challenge.encode()))
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _log(scope: Scope, context: RequestContext, status: int) -> None:
    record: dict[str, Any] = {
        "method": scope["method"],
        "path": scope["path"],
        "route": context.route,
        "status": status or CLIENT_CLOSED,
        "ms": round((time.monotonic() - context.started) * 1000, 2),
        "request_id": context.request_id,
        "trace_id": context.trace_id,
    }
    if context.calls:
        record["calls"] = context.calls
    if context.degraded:
        record["degraded"] = context.degraded
    log.info("request", **record)
