"""The request target at the service: a template filled with what the route matched, escaped segment by segment.

The path is decoded and escaped anew, so that gateway and service cannot read it differently. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import quote, unquote_plus

from starlette.routing import compile_path
from starlette.types import Scope

from ..errors import DeclarationError, Problem

__all__ = ["TargetTemplate"]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@/%]*")
_PLAIN = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~]++(?:/(?!\Z)|\Z))*+")
# A slash, backslash or NUL that the route has not seen as such; the decoded path does not tell them from real ones.
_HIDDEN = re.compile(rb"%(?:2[fF]|5[cC]|00)")
# What cannot be meant: control characters, what was no UTF-8, and what a second decoding would turn into path syntax.
_STRANGE = re.compile(r"[\x00-\x1f\x7f\\\ufffd]|%(?:2[eEfF5]|5[cC]|00)")
_QUERY = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*+")


class TargetTemplate:
    """Renders ``to`` (``/media/{path}``) behind ``prefix`` from the parameters of ``path`` (``/media/{path:path}``).

    ``query`` names the parameters of the query that are passed on, True for all. Raises ``DeclarationError``.
    """

    __slots__ = ("_all", "_names", "_pieces", "_static")

    def __init__(self, path: str, to: str, *, prefix: str = "", query: Collection[str] | bool = ()) -> None:
        _, _, convertors = compile_path(path)
        parts = _PLACEHOLDER.split(to)
        if not to.startswith("/") or not all(_LITERAL.fullmatch(part) for part in parts[::2]):
            raise DeclarationError(
                f"the proxy at '{path}': to='{to}' is not a path such as '/media/{{path}}', percent-encoded, "
                "without query"
            )
        if unknown := [name for name in parts[1::2] if name not in convertors]:
            raise DeclarationError(f"the proxy at '{path}' has no parameter '{unknown[0]}', which to='{to}' needs")
        if isinstance(query, str):
            raise DeclarationError(f"the proxy at '{path}': query is a list of names, or True for all: ['{query}']")
        self._static = prefix + parts[0]
        self._pieces = list(zip(parts[1::2], parts[2::2], strict=True))
        self._all = query is True
        self._names = frozenset() if isinstance(query, bool) else frozenset(query)

    def render(self, scope: Scope) -> str:
        """The target in origin form. Raises a 400 problem for what no service should be asked."""
        raw = scope.get("raw_path") or b""
        if b"%" in raw and _HIDDEN.search(raw):
            raise _refused()
        target = self._static
        values = scope["path_params"]
        for name, literal in self._pieces:
            target += _escape(str(values[name])) + literal
        query = scope["query_string"]
        if query and (self._all or self._names):
            passed = self._pass(query)
            if passed:
                target = f"{target}?{passed}"
        return target

    def _pass(self, query: bytes) -> str:
        if _QUERY.fullmatch(query) is None:
            raise Problem(400, "The query holds characters that must be percent-encoded.")
        text = query.decode("ascii")
        if self._all:
            return text
        # Some services take ';' for '&': behind an allowed name it would bring in another.
        pairs = [pair for pair in text.replace(";", "%3B").split("&") if self._named(pair)]
        return "&".join(pairs)

    def _named(self, pair: str) -> bool:
        return unquote_plus(pair.partition("=")[0]) in self._names


def _escape(text: str) -> str:
    if _PLAIN.fullmatch(text) is not None:
        return text
    segments = text.split("/")
    # An empty segment is only the end of a path that ends with a slash.
    if _STRANGE.search(text) or any(segment in ("", ".", "..") for segment in segments[:-1]):
        raise _refused()
    if segments[-1] in (".", ".."):
        raise _refused()
    return "/".join([quote(segment, safe="-._~") for segment in segments])


def _refused() -> Problem:
    return Problem(400, "The path holds what cannot be passed on: dot segments, empty ones, or encoded delimiters.")
