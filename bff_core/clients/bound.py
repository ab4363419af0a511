"""An operation of one gateway: bound to its service, with the policy in force."""

from __future__ import annotations

from typing import Any

from ..resilience import CallPolicy, Resolved, Upstream
from .caching import ResponseCache
from .credentials import ServiceCredentials
from .flight import Flights
from .operation import Operation

__all__ = ["BoundOperation"]


class BoundOperation:
    """What an invocation needs besides its arguments. ``flights`` are the service's calls that others may join;
    ``credentials`` say how it learns for whom it is called, None for not at all."""

    __slots__ = ("cache", "credentials", "flights", "operation", "policy", "resolved", "responses", "upstream")

    def __init__(
        self,
        operation: Operation[..., Any],
        upstream: Upstream,
        resolved: Resolved,
        flights: Flights,
        cache: ResponseCache,
        credentials: ServiceCredentials | None = None,
    ) -> None:
        self.operation = operation
        self.credentials = credentials
        self.upstream = upstream
        self.resolved = resolved
        self.flights = flights
        self.responses = cache
        self.cache = cache if resolved.policy.cache and operation.method == "GET" and operation.idempotent else None
        self.policy = CallPolicy(
            operation.name,
            operation.method,
            resolved.policy,
            idempotent=operation.idempotent,
            path=operation.path,
        )

    def changed(self, target: str) -> None:
        """An unsafe request for ``target`` may have been done: who asks from now on gets no answer from before."""
        self.flights.part(target)
        self.responses.changed(self.upstream.name, target)
