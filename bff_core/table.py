"""Which endpoint a request is for, found in one step: all paths of a method in one regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from .context import RequestContext

__all__ = ["Direct", "EndpointTable", "Found"]

_GROUP = re.compile(r"\(\?P<\w+>")
_USUAL = frozenset({"OPTIONS"})
"""Methods whose requests go the usual way all the same: they may be a browser's preflight."""
Params = list[tuple[int, str, Callable[[str], Any]]]


class Direct(Protocol):
    """The endpoint of a route that has it as ``direct``: the edge asks it itself, without the app's other middleware
    and its router in between. ``calls`` are those to services that a request will make, as far as is known."""

    calls: int

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, path_params: dict[str, Any]
    ) -> None:
        """Answer one request; what it raises the edge answers."""


Found = tuple[Direct, dict[str, Any]]
Entry = tuple[Direct | None, Params]


class EndpointTable:
    """Finds what Starlette's router would find: a route that stands before one with a direct endpoint and matches as
    well goes first."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.size = len(routes)
        self._routes = list(routes)
        self._directs: list[Direct | None] = [getattr(route, "direct", None) for route in self._routes]
        methods = {
            method
            for route, direct in zip(self._routes, self._directs, strict=True)
            if direct is not None and isinstance(route, Route)
            for method in route.methods or ()
        }
        self._methods = {method: self._compile(method) for method in methods - _USUAL}

    def find(self, scope: Scope) -> Found | None:
        """The endpoint and its path's values; None when there is no such, or the router has to say."""
        compiled = self._methods.get(scope["method"])
        if compiled is None or scope.get("root_path"):
            return None
        pattern, entries = compiled
        match = pattern.match(scope["path"])
        if match is None:
            return None
        index = match.lastindex or 0
        endpoint, params = entries[index]
        if endpoint is None:
            return None
        try:
            return endpoint, {name: convert(match[group]) for group, name, convert in params}
        except Exception:  # noqa: BLE001 - the router will raise it again, where the edge answers it
            return None

    def _compile(self, method: str) -> tuple[re.Pattern[str], dict[int, Entry]]:
        """Each route is a group of its own, closed last, so that ``lastindex`` names the one that matched."""
        alternatives: list[str] = []
        entries: dict[int, Entry] = {}
        group = 0
        for route, direct in zip(self._routes, self._directs, strict=True):
            if direct is not None and isinstance(route, Route) and method not in (route.methods or ()):
                continue
            if not isinstance(route, (Route, Mount)):
                # What it matches is not known here: from here on the router decides.
                alternatives.append("()")
                entries[group + 1] = (None, [])
                break
            source = route.path_regex.pattern.removeprefix("^")
            params: Params = [
                (group + 1 + number, name, route.param_convertors[name].convert)
                for name, number in route.path_regex.groupindex.items()
            ]
            group += 1
            inner = route.path_regex.groups
            entries[group] = (direct, params if direct is not None else [])
            alternatives.append(f"({_GROUP.sub('(', source)})")
            group += inner
        return re.compile("|".join(alternatives)), entries
