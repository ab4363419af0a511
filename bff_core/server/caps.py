"""What a connection is given."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from ..hardening import Hardening, Reply
from ..limits import Turns

__all__ = ["Begin", "Caps"]

Begin = Callable[[Scope, Receive, Send], Reply | Coroutine[Any, Any, None] | None]


@dataclass(frozen=True, slots=True)
class Caps:
    """Sizes are bytes, times seconds. ``begin`` may know a shorter way than the application: the answer to a
    request that needs no waiting, and so no task, or what makes it; it takes of ``turns`` what that will cost."""

    max_head: int = 128 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    write_timeout: float = 30.0
    begin: Begin | None = None
    turns: Turns | None = None

    @classmethod
    def of(cls, hardening: Hardening, begin: Begin | None, turns: Turns | None) -> Caps:
        """As a gateway's settings have them."""
        # The request line and what stands around names and values come on top; admission counts exactly.
        head = hardening.max_header_bytes + 64 * 1024
        return cls(head, hardening.header_timeout, hardening.body_timeout, begin=begin, turns=turns)
