"""One pass-through exchange: what comes in goes to a service, what the service answers goes out, piece by piece."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send

from ..auth import Gate
from ..clients import has_changed_nothing
from ..context import RequestContext, current_context
from ..errors import ClientDisconnected, Problem, ServiceError, UnexpectedStatus
from ..forwarded import TrustedProxies
from ..hardening import LimitedBody, with_defaults
from ..limits import Criticality, Guard, Shedder
from ..resilience import CallPolicy, Upstream, open_stream, report_broken
from ..telemetry import Event, Events, PageMeter, reason_of
from ..wire import Streamed
from .client import Client, ClientBody
from .headers import RequestHeaders, ResponseHeaders
from .target import TargetTemplate

__all__ = ["DETAILS", "ProxyEndpoint", "ProxyLimits", "ProxyServices"]

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
BODYLESS = frozenset({"GET", "HEAD"})
REFUSED = 400
SMALL = 16 * 1024
DETAILS = {
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


class _Attempts:
    """Begins the attempts of one exchange, see ``resilience.Begin``; ``sent`` counts them."""

    __slots__ = ("_body", "_calls", "_headers", "_idle", "_length", "_method", "_target", "_upstream", "sent")

    def __init__(
        self,
        upstream: Upstream,
        calls: dict[str, int],
        method: str,
        target: str,
        headers: bytes,
        body: bytes | AsyncIterable[bytes],
        length: int | None,
        idle: float,
    ) -> None:
        self._upstream = upstream
        self._calls = calls
        self._method = method
        self._target = target
        self._headers = headers
        self._body = body
        self._length = length
        self._idle = idle
        self.sent = 0

    def __call__(self, timeout: float, hurried: bool) -> Streamed:
        """One more, not entered yet."""
        self.sent += 1
        name = self._upstream.name
        self._calls[name] = self._calls.get(name, 0) + 1
        try:
            return self._upstream.wire.stream(
                self._method,
                self._target,
                self._headers,
                self._body,
                timeout,
                length=self._length,
                idle=self._idle,
                hurried=hurried,
            )
        except ValueError:
            raise Problem(400, "The request holds what cannot be sent on.") from None


class ProxyEndpoint:
    """The ASGI application of one pass-through route; ``serve`` is the same for who knows context and path already."""

    calls = 1

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
        await self.serve(scope, receive, send, current_context(), scope["path_params"])

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, path_params: dict[str, Any]
    ) -> None:
        """Answer one request. Raises problems, and ``ServiceError`` for an answer that broke off."""
        scope["path_params"] = path_params  # the target is made of them, and the keys of limits
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
        client = Client(receive, send, self._idle, context.exchange)
        try:
            body = await self._body(policy.method, length, receive, client)
            stream = await self._open(policy, context, target, headers, body, length)
            failed: BaseException | None = None
            try:
                await self._answer(policy, stream, client, context)
            except BaseException as error:  # noqa: BLE001 - raised below: compiled code must not wait in a handler
                failed = error
            await stream.aclose()
            self._upstream.advance()
            if failed is not None:
                raise failed
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
        upstream = self._upstream
        error: ServiceError | None = None
        attempts = _Attempts(upstream, context.calls, policy.method, target, headers, body, length, self._idle)
        deadline = self._until(context) if body == b"" else math.inf
        try:
            stream = await open_stream(upstream, policy, attempts, deadline, repeatable=body == b"")
            if stream.status >= REFUSED:
                error = UnexpectedStatus(stream.status)
            return stream
        except ServiceError as failed:
            error = failed
            context.note_failure("proxy", reason_of(failed))
            raise _problem(failed) from failed
        finally:
            # Also when the client has left: the service may have done it all the same.
            if (
                self._changed is not None
                and policy.method not in SAFE
                and not has_changed_nothing(attempts.sent, error)
            ):
                self._changed(target)

    def _until(self, context: RequestContext) -> float:
        """The instant for the head of the answer: the client's own, when it is in more of a hurry than we are."""
        if context.deadline < context.started + self._deadline:
            return context.deadline
        return context.started + self._longer

    async def _answer(self, policy: CallPolicy, stream: Streamed, client: Client, context: RequestContext) -> None:
        content = stream.rest()
        length = None if content is None or policy.method == "HEAD" else len(content)
        picked = self._responses.pick(stream.status, stream.headers, length)
        headers = with_defaults(picked, context.reply_headers)
        context.status = stream.status
        if content is not None and client.answer(stream.status, headers, content):
            return
        await client.send({"type": "http.response.start", "status": stream.status, "headers": headers})
        if content is not None:
            await client.send({"type": "http.response.body", "body": content})
            return
        more = True
        try:
            while more:
                piece = await stream.read()
                more = bool(piece) and not stream.complete
                await client.send({"type": "http.response.body", "body": piece, "more_body": more})
        except ServiceError as error:
            # Raised out of here it has the server break the client's connection: nothing else says "not complete".
            report_broken(self._upstream, policy, error)
            context.note_failure("proxy", reason_of(error))
            raise


def _problem(error: ServiceError) -> Problem:
    headers = {}
    if error.page_status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after or 1)))
    return Problem(error.page_status, DETAILS[error.page_status], headers=headers)
