"""One invocation of an operation: from arguments to a value, alone, in a batch, or aboard somebody else's call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from ..context import RequestContext
from ..errors import BadResponse, BffError, ServiceError
from ..resilience import Call, Request
from ..wire import WireResponse
from .batch import Batch, Lookup
from .bound import BoundOperation
from .flight import Seat

__all__ = ["Invocation"]

log = structlog.get_logger("bff.clients")


class Invocation:
    """``value`` or ``error`` is set when ``finished`` is called, which happens once, and never after ``cancel``.

    ``deadline`` is an instant of ``time.monotonic``; ``tag`` is the caller's own. ``body`` is the answer as it came.
    """

    __slots__ = ("_bound", "_context", "_finished", "_handle", "body", "deadline", "error", "tag", "value")

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
        self._handle: Call | Seat | Lookup | None = None
        self.tag = tag
        self.deadline = deadline
        self.body: bytes | None = None
        self.value: Any = None
        self.error: BffError | None = None

    def start(self, values: Sequence[Any]) -> bool:
        """Send what is to be sent, without waiting. True when nothing is to be sent: the value is there already.

        Raises what rendering the request raises.
        """
        index = self._bound.operation.batch_index
        if index < 0:
            self._launch(values)
            return False
        ids = list(dict.fromkeys(values[index]))
        if not ids:
            self.value = []
            return True
        batch = Batch.of(self._bound, self._context, list(values), self._fetch)
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

    def _fetch(self, values: Sequence[Any], done: Callable[[Any, BffError | None], None]) -> Invocation:
        """One chunk of a batch, as an invocation of its own."""
        chunk = Invocation(self._bound, self._context, self.deadline, lambda ended: done(ended.value, ended.error))
        chunk._launch(values)
        return chunk

    def _launch(self, values: Sequence[Any]) -> None:
        bound, context = self._bound, self._context
        target, headers, body = bound.operation.template.render(values)
        request = Request(bound.upstream.prefix + target, context.headers + headers, body)
        calls, name = context.calls, bound.upstream.name

        def begin(finished: Callable[[Call], None]) -> Call:
            def counted(call: Call) -> None:
                calls[name] = calls.get(name, 0) + call.sent
                finished(call)

            call = Call(bound.upstream, bound.policy, request, self.deadline, counted)
            call.start()
            return call

        if bound.operation.method != "GET":
            self._handle = begin(lambda call: self._answered(call.response, call.error))
            return
        # All that could change the answer is in the key; whom it is for as well.
        key = (target, headers, context.principal)
        self._handle = bound.flights.join(key, self.deadline, self._answered, begin)

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
