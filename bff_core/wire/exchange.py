"""A request on its way, from the caller's side."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..errors import CallTimeout, ServiceError
from .answer import Sink
from .protocol import Done, WireResponse

if TYPE_CHECKING:
    from .connection import Connection
    from .pool import Dial, Pool

__all__ = ["Buffered", "Pending"]

_log = logging.getLogger(__name__)


class Pending:
    """What connection and pool need to know of an exchange.

    It has a ``connection``, or it waits in the pool (with a ``timer``, perhaps a ``dial``), or it has ended.
    ``repeatable``: it may be sent once more when a reused connection ends without an answer. ``fresh``: it is being
    sent once more, over a new connection only. ``sending``: parts of its body are still to be sent.
    """

    __slots__ = (
        "connection", "deadline", "dial", "ended", "fresh", "head_only", "payload", "pool", "repeatable", "sending",
        "sink", "timer",
    )  # fmt: skip

    def __init__(self, pool: Pool, payload: bytes, repeatable: bool, head_only: bool) -> None:
        self.pool = pool
        self.payload = payload
        self.repeatable = repeatable
        self.head_only = head_only
        self.fresh = False
        self.ended = False
        self.sending = False
        self.sink: Sink | None = None
        self.connection: Connection | None = None
        self.dial: Dial | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.deadline = 0.0

    def abandon(self) -> None:
        """See ``Exchange.abandon``."""
        if not self.ended:
            self.ended = True
            self.pool.in_flight -= 1
            self._drop()

    def expired(self) -> None:
        """The time is over while it waits for a connection."""
        self.timer = None
        self.fail(CallTimeout("no connection in time"))

    def fail(self, error: ServiceError) -> None:
        """End with ``error``, wherever it is."""
        if not self.ended:
            self._drop()
            self.end(None, error)

    def end(self, response: WireResponse | None, error: ServiceError | None) -> None:
        """It holds nothing any more: count it out and tell the caller. Called once."""
        raise NotImplementedError

    def _drop(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        else:
            self.pool.forget(self)


class Buffered(Pending):
    """An exchange whose answer is told as a whole."""

    __slots__ = ("_done",)

    def __init__(self, pool: Pool, payload: bytes, repeatable: bool, head_only: bool, done: Done) -> None:
        super().__init__(pool, payload, repeatable, head_only)
        self._done: Done | None = done

    def abandon(self) -> None:
        """See ``Exchange.abandon``."""
        self._done = None
        super().abandon()

    def end(self, response: WireResponse | None, error: ServiceError | None) -> None:
        """See ``Pending.end``."""
        self.ended = True
        self.pool.in_flight -= 1
        done, self._done = self._done, None
        if done is not None:
            try:
                done(response, error)
            except Exception:  # noqa: BLE001 - a caller's fault must not break the connection, which others use next
                _log.exception("a callback of the wire raised")
