"""One run of a plan: starts what can start, takes in what comes, starts what that makes possible.

There is no task per section. Operations are sent when their arguments are there and end in a callback; only a section
with an ``async`` function of the author's runs in a task.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import structlog

from ..clients import BoundOperation, Invocation
from ..context import RequestContext, use_context
from ..errors import BffError, CallTimeout, Refused, ServiceError
from .failure import problem_of
from .last_good import LastGoodValues, StaleKey
from .plan import Plan, PlannedSection
from .stale import is_refusal, stale_key, stale_key_after

__all__ = ["Bound", "Run"]

Bound = tuple[BoundOperation | None, ...]
"""The bound operation of each section, by the section's index."""

log = structlog.get_logger("bff.pages")
WAITING, RUNNING, DONE, SKIPPED, FAILED = range(5)


class Run:
    """The values of one request's page. ``values`` has the inputs in place; ``selected`` holds the optional sections
    to run, None for all. ``fresh_for`` is for how many seconds more every answer was fresh when it came, infinite
    without any. ``on_settled`` is told of each section that has its value."""

    __slots__ = (
        "_bound",
        "_context",
        "_future",
        "_handles",
        "_last_good",
        "_left",
        "_plan",
        "_selected",
        "_waiting",
        "error",
        "failures",
        "fresh_for",
        "on_settled",
        "seconds",
        "state",
        "values",
    )

    def __init__(
        self,
        plan: Plan,
        bound: Bound,
        context: RequestContext,
        values: list[Any],
        selected: Collection[str] | None = None,
        last_good: LastGoodValues | None = None,
    ) -> None:
        self._plan = plan
        self._bound = bound
        self._context = context
        self._selected = selected
        self._last_good = last_good
        self._left = len(plan.sections)
        self._waiting = [section.waits_for for section in plan.sections]
        self._handles: dict[int, Invocation | asyncio.Task[None]] = {}
        self._future: asyncio.Future[None] | None = None
        self.state = [WAITING] * self._left
        self.seconds = [0.0] * self._left
        self.failures: dict[str, str] = {}
        self.fresh_for = math.inf
        self.error: BaseException | None = None
        self.on_settled: Callable[[PlannedSection], None] | None = None
        self.values = values

    async def complete(self) -> list[Any]:
        """Run the page; gives its values. Raises what made a required section fail, after cancelling the others."""
        for section in self._plan.sections:
            if not section.waits_for and self.error is None:
                self._begin(section)
        if self._left and self.error is None:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            except asyncio.CancelledError:
                self._cancel()
                raise
        if self.error is not None:
            self._cancel()
            raise self.error
        return self.values

    def abandon(self, reason: BaseException) -> None:
        """Nobody waits for the page any more: ``complete`` raises ``reason``."""
        if self.error is None and self._left:
            self.error = reason
            if self._future is not None and not self._future.done():
                self._future.set_result(None)

    def _cancel(self) -> None:
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _begin(self, section: PlannedSection) -> None:
        index = section.index
        self.state[index] = RUNNING
        now = time.monotonic()
        self.seconds[index] = now
        try:
            if self._skips(section):
                self._skip(section)
                return
            values = self.values
            if section.allow is not None and section.allow.function(*section.allow.get(values)) is not True:
                self._refuse(section)
                return
            for derived in section.derived:
                values[derived.slot] = derived.function(*derived.get(values))
            deadline = self._context.deadline
            if section.timeout is not None:
                deadline = min(deadline, now + section.timeout)
            if section.operation is not None:
                self._invoke(section, deadline)
            else:
                self._evaluate(section, deadline)
        except Exception as error:  # noqa: BLE001 - the author's functions may raise anything
            self._fail(section, error)

    def _skips(self, section: PlannedSection) -> bool:
        if self._selected is not None and not section.required and section.name not in self._selected:
            return True
        if section.when is None:
            return False
        return not section.when.function(*section.when.get(self.values))

    def _refuse(self, section: PlannedSection) -> None:
        if section.required:
            raise Refused(403, "section_not_allowed")
        self._skip(section)

    def _invoke(self, section: PlannedSection, deadline: float) -> None:
        bound = self._bound[section.index]
        if bound is None:
            raise RuntimeError("a section without an operation cannot be invoked")
        invocation = Invocation(bound, self._context, deadline, self._invoked, section)
        if invocation.start(section.arguments(self.values)):
            self.fresh_for = min(self.fresh_for, invocation.fresh_for)
            self._succeed(section, invocation.value)
        else:
            self._handles[section.index] = invocation

    def _invoked(self, invocation: Invocation) -> None:
        section: PlannedSection = invocation.tag
        self._handles.pop(section.index, None)
        self.fresh_for = min(self.fresh_for, invocation.fresh_for)
        if invocation.error is not None:
            self._fail(section, invocation.error)
            return
        if section.stale_for and self._last_good is not None:
            value, body = invocation.value, invocation.body
            size = len(body) if body is not None else len(repr(value))
            key = stale_key(self._plan.name, section, self.values, self._context.principal)
            self._last_good.put(key, value, size, section.returns, section.stale_for, self.seconds[section.index])
        self._succeed(section, invocation.value)

    def _evaluate(self, section: PlannedSection, deadline: float) -> None:
        assert section.function is not None  # noqa: S101 - for the type checker: no operation means a function
        if not inspect.iscoroutinefunction(section.function):
            self._succeed(section, section.function(*section.arguments(self.values)))
            return
        task = asyncio.get_running_loop().create_task(self._await(section, section.function, deadline))
        self._handles[section.index] = task

    async def _await(self, section: PlannedSection, function: Callable[..., Any], deadline: float) -> None:
        spans = self._context.spans
        if spans is not None:
            spans = spans.section(section.name)
        use_context(replace(self._context, deadline=deadline, spans=spans))
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                value = await function(*section.arguments(self.values))
        except TimeoutError:
            self._handles.pop(section.index, None)
            self._fail(section, CallTimeout(f"section '{section.name}' did not end in time"))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self.error is not None or (task is not None and task.cancelling()):
                raise
            # Not the page was cancelled but something that the section waited for.
            self._handles.pop(section.index, None)
            self._fail(section, error)
        except Exception as error:  # noqa: BLE001 - the author's functions may raise anything
            self._handles.pop(section.index, None)
            self._fail(section, error)
        else:
            self._handles.pop(section.index, None)
            self._succeed(section, value)

    def _succeed(self, section: PlannedSection, value: Any) -> None:
        self.values[section.slot] = value
        self._settle(section, DONE)

    def _skip(self, section: PlannedSection) -> None:
        self.values[section.slot] = copy.deepcopy(section.fallback)
        self._settle(section, SKIPPED)

    def _fail(self, section: PlannedSection, error: BaseException) -> None:
        if not isinstance(error, (BffError, TimeoutError)):
            log.error("section.error", page=self._plan.name, section=section.name, exc_info=error)
        self.failures[section.name] = error.kind if isinstance(error, ServiceError) else type(error).__name__
        if section.required:
            self.error = self._problem(section, error)
            self._settle(section, FAILED)
            return
        last_good = self._last_good
        key = None
        if section.stale_for and last_good is not None:
            key = stale_key_after(error, self._plan.name, section, self.values, self._context.principal)
        if key is None or last_good is None:
            self._fall_back(section)
        elif is_refusal(error):
            last_good.forget(key)  # what was there before is gone, or not for them
            self._fall_back(section)
        elif (known := last_good.get(key, section.stale_for)) is not None:
            self._use_stale(section, *known)
        elif last_good.remote is not None:
            self._handles[section.index] = asyncio.get_running_loop().create_task(self._recall(section, last_good, key))
        else:
            self._fall_back(section)

    async def _recall(self, section: PlannedSection, last_good: LastGoodValues, key: StaleKey) -> None:
        known = None
        try:
            known = await last_good.recall(key, section.returns, section.stale_for)
        except Exception:
            log.exception("last_good.error", page=self._plan.name, section=section.name)
        self._handles.pop(section.index, None)
        if known is not None:
            self._use_stale(section, *known)
        else:
            self._fall_back(section)

    def _fall_back(self, section: PlannedSection) -> None:
        self._tell("OnFallback", section)
        self._degrade(section)

    def _use_stale(self, section: PlannedSection, value: Any, age: float) -> None:
        self._context.degraded[section.name] = f"stale: {age:.0f} s"
        self._tell("OnStale", section)
        self._succeed(section, value)

    def _tell(self, name: str, section: PlannedSection) -> None:
        bound = self._bound[section.index]
        if bound is not None:
            bound.upstream.emit(name, "warning", "Fallback", bound.operation.name, detail=self.failures[section.name])

    def _degrade(self, section: PlannedSection) -> None:
        self.values[section.slot] = copy.deepcopy(section.fallback)
        self._context.degraded[section.name] = self.failures.get(section.name, "dependency")
        self._settle(section, FAILED)

    def _settle(self, section: PlannedSection, state: int) -> None:
        index = section.index
        self.state[index] = state
        if self._context.spans is not None and self.seconds[index] and state != SKIPPED:
            error = self.failures.get(section.name)
            self._context.spans.section_ended(section.name, self.seconds[index], time.monotonic(), error)
        self.seconds[index] = time.monotonic() - self.seconds[index] if self.seconds[index] else 0.0
        self._left -= 1
        if self.on_settled is not None:
            self.on_settled(section)
        if self.error is None:
            for dependent in section.dependents:
                self._waiting[dependent] -= 1
                if not self._waiting[dependent]:
                    self._unblock(self._plan.sections[dependent])
        if (not self._left or self.error is not None) and self._future is not None and not self._future.done():
            self._future.set_result(None)

    def _unblock(self, section: PlannedSection) -> None:
        """All that ``section`` waits for has ended. It runs only when all of it is really there."""
        states = [other for other in self._plan.sections if section.index in other.dependents]
        if any(self.state[other.index] == FAILED for other in states):
            self._degrade(section)
        elif any(self.state[other.index] == SKIPPED for other in states):
            self._skip(section)
        else:
            self._begin(section)

    def _problem(self, section: PlannedSection, error: BaseException) -> BaseException:
        if isinstance(error, asyncio.CancelledError):
            return RuntimeError(f"section '{section.name}' was cancelled by its own doing")
        if not isinstance(error, ServiceError):
            return error
        return problem_of(error, section.relay_status)
