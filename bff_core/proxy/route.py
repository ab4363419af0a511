"""A pass-through route of a gateway, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from starlette.routing import Route

from ..auth import Gate
from ..errors import DeclarationError
from ..limits import Criticality, Guard
from ..resilience import Upstream
from .endpoint import DETAILS, ProxyEndpoint, ProxyLimits, ProxyServices
from .headers import RequestHeaders, ResponseHeaders
from .target import TargetTemplate

__all__ = ["ProxyRoute"]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")


class ProxyRoute(Route):
    """Passes requests of ``methods`` on to ``upstream``; from anybody when ``gate`` is None. ``changed`` is told of the
    targets of unsafe requests that may have been done.

    Raises ``DeclarationError`` when path, target, methods or headers do not fit.
    """

    def __init__(
        self,
        path: str,
        upstream: Upstream,
        *,
        to: str,
        methods: Collection[str],
        query: Collection[str] | bool,
        request_headers: Collection[str],
        response_headers: Collection[str],
        limits: ProxyLimits,
        gate: Gate | None,
        criticality: Criticality,
        services: ProxyServices,
        guard: Guard | None,
        changed: Callable[[str], None] | None,
    ) -> None:
        if isinstance(methods, str) or not methods or not set(methods) <= set(METHODS):
            raise DeclarationError(f"the proxy at '{path}': methods are some of {', '.join(METHODS)}")
        self.upstream = upstream
        self.to = to
        self._gate = gate
        self.direct = endpoint = ProxyEndpoint(
            path,
            upstream,
            methods,
            TargetTemplate(path, to, prefix=upstream.prefix, query=query),
            RequestHeaders(path, request_headers),
            ResponseHeaders(path, response_headers, private=gate is not None, vary=() if gate is None else gate.vary),
            limits,
            gate=gate,
            criticality=criticality,
            services=services,
            guard=guard,
            changed=changed,
        )
        self.meters = list(endpoint.meters.values())
        super().__init__(path, endpoint, methods=list(methods), name=f"proxy {path}")
        self.methods = set(methods)  # Starlette adds HEAD to GET

    def document(self, paths: dict[str, Any], security: str) -> None:
        """Enter the route's operations in ``paths`` of an OpenAPI document."""
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in self.param_convertors
        ]
        operation: dict[str, Any] = {
            "summary": f"Passed through to {self.upstream.name}",
            "responses": {
                "default": {"description": "What the service answers."},
                **{
                    str(status): {"description": text, "content": {"application/problem+json": {}}}
                    for status, text in DETAILS.items()
                },
            },
        }
        if parameters:
            operation["parameters"] = parameters
        if self._gate is not None:
            operation["security"] = self._gate.requirements(security)
        entry = paths.setdefault(self.path_format, {})
        for method in sorted(self.methods or ()):
            entry.setdefault(method.lower(), operation)
