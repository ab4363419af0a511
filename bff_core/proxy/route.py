"""A pass-through route: what comes in goes to a service, what the service answers goes out, piece by piece."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..auth import Gate
from ..clients import has_changed_nothing
from ..context import RequestContext, current_context
from ..errors import ClientDisconnected, DeclarationError, Problem, ServiceError, UnexpectedStatus
from ..forwarded import TrustedProxies
from ..hardening import LimitedBody
from ..limits import Criticality, Guard, Shedder
from ..resilience import CallPolicy, Upstream, open_stream, report_broken
from ..telemetry import Event, Events, PageMeter, reason_of
from ..wire import Streamed
from .client import Client, ClientBody
from .headers import RequestHeaders, ResponseHeaders
from .target import TargetTemplate

__all__ = ["ProxyLimits", "ProxyRoute", "ProxyServices"]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BODYLESS = frozenset({"GET", "HEAD"})
REFUSED = 400
SMALL = 16 * 1024
_DETAILS = {
    502: "The service behind this address gave no usable answer.",
    503: "The service behind this address is not available.",
    504: "The service behind this address did not answer in time.",
}


@dataclass(frozen=True, slots=True)
class ProxyServices:
    """What pass-through routes need of their gateway; ``deadline`` is in seconds."""

    shedder: Shedder
    events: Events
    deadline: float


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """``max_body`` in bytes, of the request; ``timeout`` to the head of the answer and ``idle`` between the pieces of
    either body, in seconds."""

    max_body: int
    timeout: float | None
    idle: float


class ProxyRoute(Route):
    """Passes requests of ``methods`` on to ``upstream``; from anybody when ``gate`` is None. ``changed`` is told of the
    targets of unsafe requests that may have been done.

    Raises ``DeclarationError`` when path, target, methods or headers do not fit.
    """

    def __init__(
        self,
        path: str,
        upstream: Upstream,
        *,
        to: str,
        methods: Collection[str],
        query: Collection[str] | bool,
        request_headers: Collection[str],
        response_headers: Collection[str],
        limits: ProxyLimits,
        gate: Gate | None,
        criticality: Criticality,
        services: ProxyServices,
        guard: Guard | None,
        changed: Callable[[str], None] | None,
    ) -> None:
        if isinstance(methods, str) or not methods or not set(methods) <= set(METHODS):
            raise DeclarationError(f"the proxy at '{path}': methods are some of {', '.join(METHODS)}")
        self.upstream = upstream
        self.to = to
        self._gate = gate
        endpoint = _ProxyEndpoint(
            path,
            upstream,
            methods,
            TargetTemplate(path, to, prefix=upstream.prefix, query=query),
            RequestHeaders(path, request_headers),
            ResponseHeaders(path, response_headers, private=gate is not None, vary=() if gate is None else gate.vary),
            limits,
            gate=gate,
            criticality=criticality,
            services=services,
            guard=guard,
            changed=changed,
        )
        self.meters = list(endpoint.meters.values())
        super().__init__(path, endpoint, methods=list(methods), name=f"proxy {path}")
        self.methods = set(methods)  # Starlette adds HEAD to GET

    def document(self, paths: dict[str, Any], security: str) -> None:
        """Enter the route's operations in ``paths`` of an OpenAPI document."""
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in self.param_convertors
        ]
        operation: dict[str, Any] = {
            "summary": f"Passed through to {self.upstream.name}",
            "responses": {
                "default": {"description": "What the service answers."},
                **{
                    str(status): {"description": text, "content": {"application/problem+json": {}}}
                    for status, text in _DETAILS.items()
                },
            },
        }
        if parameters:
            operation["parameters"] = parameters
        if self._gate is not None:
            operation["security"] = self._gate.requirements(security)
        entry = paths.setdefault(self.path_format, {})
        for method in sorted(self.methods or ()):
            entry.setdefault(method.lower(), operation)


class _ProxyEndpoint:
    """The ASGI application of one pass-through route."""

    def __init__(
        self,
        path: str,
        upstream: Upstream,
        methods: Collection[str],
        target: TargetTemplate,
        requests: RequestHeaders,
        responses: ResponseHeaders,
        limits: ProxyLimits,
        *,
        gate: Gate | None,
        criticality: Criticality,
        services: ProxyServices,
        guard: Guard | None,
        changed: Callable[[str], None] | None,
    ) -> None:
        policy = upstream.policy
        if limits.timeout is not None:
            policy = policy.model_copy(update={"timeout": limits.timeout})
        self._path = path
        self._upstream = upstream
        self._policies = {
            method: CallPolicy(f"proxy {path}", method, policy, idempotent=method in IDEMPOTENT) for method in methods
        }
        self._target = target
        self._requests = requests
        self._responses = responses
        self._max_body = limits.max_body
        self._idle = limits.idle
        self._deadline = services.deadline
        self._longer = max(services.deadline, limits.timeout or 0.0)
        self._gate = gate
        self._guard = guard
        self._changed = changed
        self._criticality = criticality
        self._shedder = services.shedder
        self.meters = {method: PageMeter("", method, path) for method in methods}
        self._events = services.events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = current_context()
        context.route = self._path
        context.meter = meter = self.meters[scope["method"]]
        meter.in_flight += 1
        if not self._shedder.admits(self._criticality):
            meter.shed += 1
            self._events.emit(Event("OnShed", "warning", self._path, "LoadShedding", detail=self._criticality))
            raise Problem(503, "There is more to do than can be done; try again soon.", headers={"retry-after": "1"})
        if self._guard is not None:
            await self._guard.enter(scope, context, self._gate)
        elif self._gate is not None:
            await self._gate.enter(scope, context)
        policy = self._policies[scope["method"]]
        target = self._target.render(scope)
        headers, length = self._requests.read(scope, context.headers, context.proxies or TrustedProxies())
        if isinstance(receive, LimitedBody):
            # This route has limits of its own, and reads nothing of what it passes on.
            receive = receive.unlimited
        client = Client(receive, send, self._idle)
        try:
            body = await self._body(policy.method, length, receive, client)
            stream = await self._open(policy, context, target, headers, body, length)
            try:
                await self._answer(policy, stream, client)
            finally:
                await stream.aclose()
                self._upstream.advance()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if client.left and task is not None and not task.uncancel():
                raise ClientDisconnected from None
            raise
        finally:
            client.stop()

    async def _body(self, method: str, length: int | None, receive: Receive, client: Client) -> bytes | ClientBody:
        """What is sent on: nothing, all of it when it is small and complete, or a stream."""
        if length == 0:
            client.complete()
            return b""
        if method in BODYLESS:
            raise Problem(400, f"A {method} request has no body here.")
        if length is not None and length > self._max_body:
            raise Problem(413, f"The body is larger than {self._max_body} bytes.")
        body = ClientBody(receive, self._max_body, self._idle, client.complete)
        # A small one is waited for, so that a slow client does not hold a connection to the service meanwhile.
        return await body.gather() if length is not None and length <= SMALL else body

    async def _open(
        self,
        policy: CallPolicy,
        context: RequestContext,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        length: int | None,
    ) -> Streamed:
        upstream, calls, sent = self._upstream, context.calls, 0
        error: ServiceError | None = None

        def begin(timeout: float, hurried: bool) -> Streamed:
            nonlocal sent
            sent += 1
            calls[upstream.name] = calls.get(upstream.name, 0) + 1
            try:
                return upstream.wire.stream(
                    policy.method, target, headers, body, timeout, length=length, idle=self._idle, hurried=hurried
                )
            except ValueError:
                raise Problem(400, "The request holds what cannot be sent on.") from None

        deadline = self._until(context) if body == b"" else math.inf
        try:
            stream = await open_stream(upstream, policy, begin, deadline, repeatable=body == b"")
            if stream.status >= REFUSED:
                error = UnexpectedStatus(stream.status)
            return stream
        except ServiceError as failed:
            error = failed
            context.note_failure("proxy", reason_of(failed))
            raise _problem(failed) from failed
        finally:
            # Also when the client has left: the service may have done it all the same.
            if self._changed is not None and policy.method not in SAFE and not has_changed_nothing(sent, error):
                self._changed(target)

    def _until(self, context: RequestContext) -> float:
        """The instant for the head of the answer: the client's own, when it is in more of a hurry than we are."""
        if context.deadline < context.started + self._deadline:
            return context.deadline
        return context.started + self._longer

    async def _answer(self, policy: CallPolicy, stream: Streamed, client: Client) -> None:
        headers = self._responses.pick(stream.status, stream.headers)
        await client.send({"type": "http.response.start", "status": stream.status, "headers": headers})
        more = not stream.complete
        if not more:
            await client.send({"type": "http.response.body", "body": b""})
        try:
            while more:
                piece = await stream.read()
                more = bool(piece) and not stream.complete
                await client.send({"type": "http.response.body", "body": piece, "more_body": more})
        except ServiceError as error:
            # Raised out of here it has the server break the client's connection: nothing else says "not complete".
            report_broken(self._upstream, policy, error)
            raise


def _problem(error: ServiceError) -> Problem:
    headers = {}
    if error.page_status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after or 1)))
    return Problem(error.page_status, _DETAILS[error.page_status], headers=headers)
