"""What a connection is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from ..hardening import Reply

__all__ = ["Caps"]


@dataclass(frozen=True, slots=True)
class Caps:
    """Sizes are bytes, times seconds. ``at_once`` gives the answer to a request that needs no waiting, and so no
    task."""

    max_head: int = 128 * 1024
    header_timeout: float = 10.0
    body_timeout: float = 10.0
    write_timeout: float = 30.0
    at_once: Callable[[Scope], Reply | None] | None = None
