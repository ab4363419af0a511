"""One invocation of an operation: its call, or for a large batch its calls, and the decoded value."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ..context import RequestContext
from ..errors import BffError, ServiceError
from ..resilience import Call, Upstream
from .operation import Operation

__all__ = ["Invocation"]


class Invocation:
    """``value`` or ``error`` is set when ``finished`` is called, which happens once, and never after ``cancel``.

    ``deadline`` is an instant of ``time.monotonic``; ``tag`` is the caller's own.
    """

    __slots__ = (
        "_calls",
        "_context",
        "_finished",
        "_operation",
        "_pending",
        "_upstream",
        "deadline",
        "error",
        "tag",
        "value",
    )

    def __init__(
        self,
        operation: Operation[..., Any],
        upstream: Upstream,
        context: RequestContext,
        deadline: float,
        finished: Callable[[Invocation], None],
        tag: Any = None,
    ) -> None:
        self._operation = operation
        self._upstream = upstream
        self._context = context
        self._finished: Callable[[Invocation], None] | None = finished
        self.tag = tag
        self._calls: list[Call] = []
        self._pending = 0
        self.deadline = deadline
        self.value: Any = None
        self.error: BffError | None = None

    def start(self, values: Sequence[Any]) -> bool:
        """Send what is to be sent, without waiting. True when nothing is to be sent: the value is there already.

        Raises what rendering the request raises.
        """
        operation = self._operation
        if operation.timeout is not None:
            self.deadline = min(self.deadline, time.monotonic() + operation.timeout)
        if operation.batch_index >= 0:
            return self._start_batch(list(values))
        self._launch(values)
        return False

    def cancel(self) -> None:
        """The value is no longer wanted."""
        self._finished = None
        for call in self._calls:
            call.cancel()

    def _start_batch(self, values: list[Any]) -> bool:
        index, limit = self._operation.batch_index, self._operation.batch_limit
        keys = list(dict.fromkeys(values[index]))
        if not keys:
            self.value = []
            return True
        requests = []
        for start in range(0, len(keys), limit):
            values[index] = keys[start : start + limit]
            requests.append(tuple(values))
        for request in requests:
            self._launch(request)
        return False

    def _launch(self, values: Sequence[Any]) -> None:
        operation, upstream = self._operation, self._upstream
        target, headers, body = operation.template.render(values)
        call = Call(
            upstream,
            operation.name,
            operation.method,
            upstream.prefix + target,
            self._context.headers + headers,
            body,
            idempotent=operation.idempotent,
            deadline=self.deadline,
            finished=self._call_finished,
        )
        self._calls.append(call)
        self._pending += 1
        call.start()

    def _call_finished(self, call: Call) -> None:
        self._pending -= 1
        calls = self._context.calls
        name = self._upstream.name
        calls[name] = calls.get(name, 0) + call.attempts
        if call.error is not None:
            self.error = self.error or call.error
        if self._pending:
            return
        if self.error is None:
            self._decode()
        finished, self._finished = self._finished, None
        if finished is not None:
            finished(self)

    def _decode(self) -> None:
        try:
            values = [self._operation.decode(call.response.body) for call in self._calls if call.response is not None]
        except ServiceError as error:
            error.service, error.operation = self._upstream.name, self._operation.name
            self.error = error
            return
        self.value = values[0] if len(values) == 1 else [item for value in values for item in value]
