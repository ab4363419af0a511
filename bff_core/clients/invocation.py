"""One invocation of an operation: from arguments to a value, alone, in a batch, or aboard somebody else's call."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from ..cache import Decision, Stored, conditional_headers, decide, matches, remaining, usable_on_error
from ..context import Principal, RequestContext
from ..errors import BadResponse, BffError, CallTimeout, ServiceError, UnexpectedStatus
from ..resilience import Call, Request
from ..wire import WireResponse
from .batch import Batch, Lookup
from .bound import BoundOperation
from .caching import ResponseCache, has_changed_nothing
from .credentials import ServiceCredentials
from .flight import Key as FlightKey
from .flight import Seat

__all__ = ["Invocation"]

log = structlog.get_logger("bff.clients")
NOT_MODIFIED = 304
STALE_IF_ERROR = frozenset({500, 502, 503, 504})


class Invocation:
    """``value`` or ``error`` is set when ``finished`` is called, which happens once, and never after ``cancel``.

    ``deadline`` is an instant of ``time.monotonic``; ``tag`` is the caller's own. ``body`` is the answer as it came;
    for ``fresh_for`` seconds more a cache may use it.
    """

    __slots__ = (
        "_bound",
        "_context",
        "_finished",
        "_flight_key",
        "_handle",
        "_key",
        "_request",
        "body",
        "deadline",
        "error",
        "fresh_for",
        "tag",
        "value",
    )

    def __init__(
        self,
        bound: BoundOperation,
        context: RequestContext,
        deadline: float,
        finished: Callable[[Invocation], None],
        tag: Any = None,
    ) -> None:
        self._bound = bound
        self._context = context
        self._finished: Callable[[Invocation], None] | None = finished
        self._handle: Call | Seat | Lookup | asyncio.Task[None] | None = None
        self._key = b""
        self._flight_key: FlightKey = ("", b"", b"")
        self.tag = tag
        self.deadline = deadline
        self.fresh_for = 0.0
        self.body: bytes | None = None
        self.value: Any = None
        self.error: BffError | None = None

    def start(self, values: Sequence[Any]) -> bool:
        """Send what is to be sent, without waiting. True when nothing is to be sent: the value is there already.

        Raises what rendering the request raises.
        """
        index = self._bound.operation.batch_index
        if index < 0:
            return self._launch(values)
        ids = list(dict.fromkeys(values[index]))
        if not ids:
            self.value = []
            return True
        batch = Batch.of(self._bound, self._context, list(values), self.deadline, self._fetch)
        self._handle = batch.add(ids, self._end)
        return False

    def cancel(self) -> None:
        """The value is no longer wanted."""
        self._finished = None
        handle, self._handle = self._handle, None
        if isinstance(handle, Seat):
            handle.leave()
        elif handle is not None:
            handle.cancel()
            if isinstance(handle, Call):
                self._written()

    def _fetch(self, values: Sequence[Any], done: Callable[[Any, BffError | None], None]) -> Invocation:
        """One chunk of a batch, as an invocation of its own."""
        chunk = Invocation(
            self._bound, self._context, self.deadline, lambda ended: done(ended.value, ended.error), self.tag
        )
        if chunk._launch(values):
            # Told in the loop's next turn: nobody expects an answer from within its own question.
            asyncio.get_running_loop().call_soon(chunk._end, chunk.value, chunk.error)
        return chunk

    def _launch(self, values: Sequence[Any]) -> bool:
        bound, context = self._bound, self._context
        target, headers, body = bound.operation.template.render(values)
        principal = context.principal
        if bound.credentials is None or principal is None:
            return self._ask(target, headers, b"", body)
        credentials = bound.credentials.ready(principal)
        if credentials is not None:
            return self._ask(target, headers, credentials, body)
        obtaining = self._obtain(bound.credentials, principal, target, headers, body)
        self._handle = asyncio.get_running_loop().create_task(obtaining)
        return False

    async def _obtain(
        self, credentials: ServiceCredentials, principal: Principal, target: str, headers: bytes, body: bytes
    ) -> None:
        try:
            async with asyncio.timeout(max(0.0, self.deadline - time.monotonic())):
                block = await credentials.obtain(principal)
            if self._ask(target, headers, block, body):
                self._end(self.value, self.error)
        except TimeoutError:
            self._end(None, self._named(CallTimeout("credentials for the service did not come in time")))
        except ServiceError as error:
            self._end(None, self._named(error))
        except Exception as error:  # noqa: BLE001 - nobody above would tell those who wait
            self._end(None, error if isinstance(error, BffError) else BadResponse(type(error).__name__))

    def _named(self, error: ServiceError) -> ServiceError:
        error.service, error.operation = self._bound.upstream.name, self._bound.operation.name
        return error

    def _ask(self, target: str, headers: bytes, credentials: bytes, body: bytes) -> bool:
        """Ask the service, or the cache. True when nothing is to be sent."""
        bound, context = self._bound, self._context
        self._request = Request(bound.upstream.prefix + target, context.headers + headers + credentials, body)
        if context.spans is not None:
            self._request.spans = context.spans if self.tag is None else context.spans.section(self.tag.name)
        if self.deadline < context.deadline:
            # The section's own timeout, not its client's hurry. What is left of less than half of it is one again.
            self._request.enough = self.tag.timeout / 2
        if bound.operation.method != "GET" or not bound.operation.idempotent:
            self._handle = self._begin(None, self._carried_out)
            return False
        # All that could change the answer is in the key; whom it is for as well.
        whose = context.principal.whose if context.principal is not None else b""
        self._flight_key = (self._request.target, headers + credentials, whose)
        cache = bound.cache
        if cache is None:
            return self._use(None)
        self._key = cache.key(bound.upstream.name, self._request.target, headers, context.principal)
        stored = cache.memory.get(self._key)
        if stored is None and cache.remote is not None:
            self._handle = cache.recall(cache.remote, self._key, self._recalled)
            return False
        return self._use(stored)

    def _recalled(self, stored: Stored | None) -> None:
        if self._finished is None:
            return
        try:
            if self._use(stored):
                self._end(self.value, self.error)
        except Exception as error:  # noqa: BLE001 - nobody above would tell those who wait
            self._end(None, error if isinstance(error, BffError) else BadResponse(type(error).__name__))

    def _use(self, stored: Stored | None) -> bool:
        """Answer from ``stored`` if that is allowed (true then), else ask the service."""
        if stored is not None and not matches(stored, self._headers()):
            stored = None
        decision = Decision.REVALIDATE if stored is None else decide(stored, time.time())
        if stored is not None and decision is not Decision.REVALIDATE:
            cached = self._bound.policy.meter.cached
            try:
                self.body, self.value = stored.body, self._bound.operation.decode(stored.body)
            except BffError:
                stored = None
            else:
                if decision is Decision.STALE_WHILE_REVALIDATE:
                    cached["stale"] += 1
                    self._refresh(stored)
                else:
                    cached["hit"] += 1
                self.fresh_for = remaining(stored, time.time())
                return True
        self._handle = self._bound.flights.join(
            self._flight_key, self.deadline, self._bound.policy.timeout, self._answered, partial(self._begin, stored)
        )
        return False

    def _refresh(self, stored: Stored) -> None:
        """Revalidate behind the client's back, unless somebody does so already."""
        flights, policy = self._bound.flights, self._bound.policy
        if self._flight_key not in flights:
            deadline = time.monotonic() + policy.timeout
            self._request.enough = policy.timeout / 2  # nobody is in a hurry here
            begin = partial(self._begin, stored, deadline=deadline)
            flights.join(self._flight_key, deadline, policy.timeout, lambda *_: None, begin)

    def _begin(self, stored: Stored | None, finished: Callable[[Call], None], deadline: float | None = None) -> Call:
        bound, request = self._bound, self._request
        counted = self._counted(stored, finished)
        if stored is not None and (conditions := conditional_headers(stored)):
            headers = request.headers + conditions
            plain, request = request, Request(request.target, headers, request.body, conditional=True)
            request.spans, request.enough = plain.spans, plain.enough
        call = Call(bound.upstream, bound.policy, request, self.deadline if deadline is None else deadline, counted)
        call.start()
        return call

    def _counted(self, stored: Stored | None, finished: Callable[[Call], None]) -> Callable[[Call], None]:
        """``finished``, for a call that begins now, after its answer was taken in."""
        bound, context, asked = self._bound, self._context, time.monotonic()

        def counted(call: Call) -> None:
            calls, name = context.calls, bound.upstream.name
            calls[name] = calls.get(name, 0) + call.sent
            if bound.cache is not None:
                self._absorb(bound.cache, stored, call, asked)
                if stored is not None and call.response is None and call.error is None:
                    # A 304 about something else than what is stored: what is there, then? (By another function: one
                    # that knows itself is a cycle, for every call, which only the garbage collector ends.)
                    call.again(self._request, self._counted(None, finished))
                    return
            finished(call)

        return counted

    def _absorb(self, cache: ResponseCache, stored: Stored | None, call: Call, asked: float) -> None:
        """Keep the answer, take a 304 for what is stored, and what is stored for no answer, where that is allowed."""
        if call.response is not None:
            if call.response.status == NOT_MODIFIED:
                self._bound.policy.meter.cached["revalidated"] += 1
            shared = self._context.principal is None
            call.response, kept = cache.absorb(self._key, stored, self._headers, call.response, asked, shared=shared)
            if kept is not None:
                self.fresh_for = remaining(kept, time.time())
        elif stored is not None and usable_on_error(stored, time.time()) and _is_failure(call.error):
            bound = self._bound
            bound.upstream.emit("OnStale", "warning", "Cache", bound.operation.name)
            bound.policy.meter.cached["stale"] += 1
            call.response, call.error = WireResponse(stored.status, list(stored.headers), stored.body), None

    def _headers(self) -> list[tuple[bytes, bytes]]:
        """The request's headers as the cache may keep them (for ``Vary``): of credentials, a digest."""
        lines = [line.partition(b": ") for line in self._request.headers.split(b"\r\n")]
        secret = self._bound.credentials.header.encode() if self._bound.credentials is not None else None
        return [
            (name, value if name != secret else hashlib.sha256(value).hexdigest().encode()) for name, _, value in lines
        ]

    def _carried_out(self, call: Call) -> None:
        if not has_changed_nothing(call.sent, call.error):
            self._written()
        self._answered(call.response, call.error)

    def _written(self) -> None:
        if self._bound.operation.method != "GET":
            self._bound.changed(self._request.target)

    def _answered(self, response: WireResponse | None, error: ServiceError | None) -> None:
        if response is None:
            self._end(None, error)
            return
        self.body = response.body
        try:
            value = self._bound.operation.decode(self.body)
        except BffError as refused:
            self._end(None, refused)
        except Exception as raised:
            log.exception("decode.error", operation=self._bound.operation.label)
            self._end(None, BadResponse(type(raised).__name__))
        else:
            self._end(value, None)

    def _end(self, value: Any, error: BffError | None) -> None:
        self._handle = None
        self.value, self.error = value, error
        if isinstance(error, BadResponse):
            error.service, error.operation = self._bound.upstream.name, self._bound.operation.name
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self)


def _is_failure(error: ServiceError | None) -> bool:
    """Whether the service failed, as opposed to refused (RFC 5861 section 4: 500, 502, 503, 504 or no answer)."""
    return not isinstance(error, UnexpectedStatus) or error.status in STALE_IF_ERROR
