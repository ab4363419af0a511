"""Which page a request is for, found in one step: all paths of a method in one regular expression."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Scope

from .endpoint import PageEndpoint
from .route import PageRoute

__all__ = ["Found", "PageTable"]

_GROUP = re.compile(r"\(\?P<\w+>")
Params = list[tuple[int, str, Callable[[str], Any]]]
Found = tuple[PageEndpoint, dict[str, Any]]
Entry = tuple[PageEndpoint | None, Params]


class PageTable:
    """Finds what Starlette's router would find: a route that stands before a page and matches as well goes first."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self.size = len(routes)
        self._routes = list(routes)
        methods = {route.method for route in self._routes if isinstance(route, PageRoute)}
        self._methods = {method: self._compile(method) for method in methods}

    def find(self, scope: Scope) -> Found | None:
        """The page and its path's values; None when it is not for a page, or the router has to say."""
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
        return endpoint, {name: convert(match[group]) for group, name, convert in params}

    def _compile(self, method: str) -> tuple[re.Pattern[str], dict[int, Entry]]:
        """Each route is a group of its own, closed last, so that ``lastindex`` names the one that matched."""
        alternatives: list[str] = []
        entries: dict[int, Entry] = {}
        group = 0
        for route in self._routes:
            if isinstance(route, PageRoute) and route.method != method:
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
            endpoint = route.page_endpoint if isinstance(route, PageRoute) else None
            entries[group] = (endpoint, params if endpoint is not None else [])
            alternatives.append(f"({_GROUP.sub('(', source)})")
            group += inner
        return re.compile("|".join(alternatives)), entries
