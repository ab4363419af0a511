"""A page on its way to its client: what has come of it so far, and the answer that is being written."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from starlette.types import Scope, Send

from ..context import RequestContext
from ..errors import ClientDisconnected
from ..hardening import with_defaults
from .fields import Include
from .plan import Plan, PlannedSection
from .run import DONE, FAILED, Run

__all__ = ["PageStream", "Streaming"]

IDLE = 30.0
_UNBUFFERED = (b"x-accel-buffering", b"no")
Header = tuple[bytes, bytes]


class Streaming(Protocol):
    """A way to answer with a page other than as one JSON document."""

    @property
    def problem_page(self) -> Callable[[Any, RequestContext], tuple[bytes, list[Header]] | None] | None:
        """How a problem is shown, when not as a problem document."""

    @property
    def in_schema(self) -> bool:
        """Whether the page is for programs, and so in the OpenAPI document."""

    @property
    def form(self) -> bool:
        """Whether what comes in is a browser's form."""

    @property
    def greets(self) -> bool:
        """Whether who is signed in is shown, on a public page too."""

    def takes(self, scope: Scope) -> bool:
        """Whether this request is to be answered so."""

    async def deliver(self, stream: PageStream, scope: Scope) -> None:
        """Answer it."""

    @property
    def keeps(self) -> bool:
        """Whether a page that is nobody's in particular can be kept whole."""

    def kept(self, stream: PageStream) -> tuple[bytes, bytes]:
        """The whole page, and its mark: what of it must be another in each answer."""

    def again(self, content: bytes, mark: bytes) -> tuple[bytes, list[Header]]:
        """A page that was kept, with another mark, and its headers."""


class PageStream:
    """Runs a page beside its delivery. A section that has not come shows its fallback, as one that failed does, so
    that there is a whole document at every moment.

    What is written goes out at once; a client that takes nothing for thirty seconds is given up
    (``ClientDisconnected``).
    """

    __slots__ = ("_arrived", "_run", "_send", "_status", "_task", "_wake", "context", "fields", "plan", "private")

    def __init__(
        self,
        plan: Plan,
        run: Run,
        context: RequestContext,
        send: Send,
        status: int,
        *,
        private: bool,
        fields: Include | None,
    ) -> None:
        self.plan = plan
        self.context = context
        self.fields = fields
        self.private = private
        self._run = run
        self._send = send
        self._status = status
        self._arrived: deque[PlannedSection] = deque()
        self._wake = asyncio.Event()
        for section in plan.sections:
            if not section.required:
                run.values[section.slot] = copy.deepcopy(section.fallback)
        run.on_settled = self._hear
        self._task = asyncio.get_running_loop().create_task(run.complete())
        self._task.add_done_callback(self._ended)

    async def until(self, indexes: Collection[int]) -> None:
        """Wait until these sections have come or failed. Raises what made a required one fail."""
        while not self._task.done():
            if self._run.error is None and all(self._run.state[index] >= DONE for index in indexes):
                return
            self._wake.clear()
            await self._wake.wait()
        self._task.result()

    async def next(self) -> PlannedSection | None:
        """The next section that has come, failed or was left out, in the order of that; None after the last."""
        while self._run.error is not None or not self._arrived:
            if self._task.done():
                self._task.result()
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._arrived.popleft()

    def skim(self) -> None:
        """Forget what has come until now: it has been delivered."""
        self._arrived.clear()

    @property
    def keepable(self) -> bool:
        """Whether it is whole, and the same for everybody."""
        return not (self.pending or self.personal or self.context.degraded)

    def close(self) -> None:
        """Let go of what still runs."""
        self._task.cancel()

    async def ended(self) -> None:
        """Wait until nothing runs any more, whatever has come of it."""
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self.close()
            raise

    def document(self) -> Any:
        """The page's answer as of now."""
        return self.plan.shape(*self.plan.shape_arguments(self._run.values))

    def inputs(self) -> dict[str, Any]:
        """The values of the page's parameters."""
        return {entry.name: self._run.values[entry.slot] for entry in self.plan.inputs}

    def settled(self, indexes: Collection[int]) -> bool:
        """Whether all of these sections have come, failed or were left out."""
        return all(self._run.state[index] >= DONE for index in indexes)

    def failed(self, indexes: Collection[int]) -> bool:
        """Whether one of them failed and shows its fallback."""
        return any(self._run.state[index] == FAILED for index in indexes)

    def degrade(self, indexes: Collection[int]) -> None:
        """These sections have come, but nothing could be made of them."""
        for index in indexes:
            self.context.degraded.setdefault(self.plan.sections[index].name, "shape")

    @property
    def personal(self) -> bool:
        """Whether it shows something of somebody."""
        return self.private or self.context.visitor is not None or self.context.principal is not None

    @property
    def pending(self) -> list[str]:
        """The sections that are still to come."""
        return [section.name for section in self.plan.sections if self._run.state[section.index] < DONE]

    @property
    def degraded(self) -> list[str]:
        """The sections that failed so far, or show an old value."""
        return [section.name for section in self.plan.sections if section.name in self.context.degraded]

    def timing(self) -> dict[str, float]:
        """Milliseconds of each section that has ended, and ``total``."""
        state, seconds = self._run.state, self._run.seconds
        found = {
            section.name: round(seconds[section.index] * 1000, 1)
            for section in self.plan.sections
            if state[section.index] in (DONE, FAILED)
        }
        return found | {"total": round((time.monotonic() - self.context.started) * 1000, 1)}

    def server_timing(self) -> str:
        """``timing`` as a value of Server-Timing (W3C)."""
        return ", ".join(f"{name};dur={milliseconds}" for name, milliseconds in self.timing().items())

    async def hint(self, links: Sequence[bytes]) -> None:
        """Tell the browser what it will need (values of ``Link``) while the page is made; the answer is still to
        come. Only for a server that offers the extension (ASGI, "Early Hints")."""
        await self._send({"type": "http.response.early_hint", "links": links})

    async def start(self, content_type: bytes, headers: Sequence[Header] = ()) -> None:
        """Begin the answer: from here on its status stands."""
        self.context.status = self._status
        own = [
            (b"content-type", content_type),
            (b"cache-control", b"private, no-store" if self.personal else b"private, no-cache"),
            (b"server-timing", self.server_timing().encode()),
            _UNBUFFERED,
            *headers,
        ]
        headers = with_defaults(own, self.context.reply_headers)
        await self._send({"type": "http.response.start", "status": self._status, "headers": headers})

    async def nothing(self) -> None:
        """Answer 204: there is no more. What has not begun does not."""
        self.close()
        await self._empty(204)

    async def redirect(self, path: str) -> None:
        """Answer 303: what was to be done is done, go to ``path`` (RFC 9110 section 15.4.4)."""
        await self._empty(303, (b"location", path.encode("ascii")))

    async def _empty(self, status: int, *own: Header) -> None:
        self.context.status = status
        headers = [*own, (b"cache-control", b"no-store"), *self.context.reply_headers]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b""})

    async def write(self, content: bytes, *, last: bool = False) -> None:
        """Send ``content`` now; waits while the client does not take what it was sent before."""
        try:
            async with asyncio.timeout(IDLE):
                await self._send({"type": "http.response.body", "body": content, "more_body": not last})
        except TimeoutError:
            raise ClientDisconnected from None

    def _hear(self, section: PlannedSection) -> None:
        self._arrived.append(section)
        self._wake.set()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # who waits is told; when nobody does any more, nobody needs to be
        self._wake.set()
