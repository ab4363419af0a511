"""What a page may say in Cache-Control (RFC 9111 section 5.2.2, RFC 5861, RFC 8246), checked when it is declared."""

from __future__ import annotations

import re

from ..errors import DeclarationError

__all__ = ["check_cache_control"]

_SPANS = frozenset({"max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"})
_FLAGS = frozenset({
    "immutable",
    "must-revalidate",
    "must-understand",
    "no-cache",
    "no-store",
    "no-transform",
    "private",
    "proxy-revalidate",
    "public",
})  # fmt: skip
_SPAN = re.compile(r"\d{1,10}")


def check_cache_control(value: str, what: str, *, private: bool) -> bool:
    """Whether caches may keep the answers of ``what`` by this value. Raises ``DeclarationError`` when the value is
    wrong, contradicts itself, or would put a ``private`` page into caches that many people share."""
    found: set[str] = set()
    for part in value.split(","):
        name, equals, argument = part.strip().partition("=")
        if name in found:
            raise DeclarationError(f"{what}: cache_control has '{name}' twice")
        if name in _SPANS:
            if not _SPAN.fullmatch(argument):
                raise DeclarationError(f"{what}: cache_control needs seconds for '{name}', like '{name}=60'")
        elif name not in _FLAGS or equals:
            known = ", ".join(sorted(_SPANS | _FLAGS))
            raise DeclarationError(f"{what}: cache_control has '{part.strip()}'; there is: {known}")
        found.add(name)
    if {"public", "private"} <= found or ("no-store" in found and _SPANS & found):
        raise DeclarationError(f"{what}: cache_control='{value}' contradicts itself")
    if private and (not found & {"private", "no-store"} or found & {"public", "s-maxage"}):
        raise DeclarationError(
            f"{what} is private, so cache_control must say 'private' or 'no-store', and neither 'public' nor 's-maxage'"
        )
    return "no-store" not in found
