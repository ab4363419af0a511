"""Cookies go along with what other sites have a browser send: who authenticates by one has to look whose call it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from starlette.types import Scope

from ..errors import DeclarationError, Refused
from .sessions.csrf import SAFE, cross_site_form

__all__ = ["OwnSite"]

LOOKED_AT = frozenset({b"cookie", b"host", b"origin", b"sec-fetch-site"})
_ORIGIN = re.compile(r"https?://[!-.0-~]+")


class OwnSite:
    """The site of a gateway whose credentials are in the headers ``names`` (lower case), and ``origins`` whose pages
    may call it as well. Raises ``DeclarationError`` for what is no origin."""

    __slots__ = ("_by_cookie", "_origins")

    def __init__(self, names: Collection[bytes], origins: Sequence[str]) -> None:
        if isinstance(origins, str) or not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise DeclarationError(f"origins={origins!r} must be a list of origins, each as 'https://shop.example'")
        self._by_cookie = b"cookie" in names
        self._origins = frozenset(origin.encode() for origin in origins)

    def check(self, scope: Scope) -> None:
        """Raise ``Refused`` (403) for an unsafe request with a cookie that is not certainly the site's own.

        A page can choose neither ``Sec-Fetch-Site`` nor ``Origin``, and every browser sends one of them. The first
        decides where it is there: the browser has compared what it shows, whatever proxies made of ``Host`` since.
        """
        if not self._by_cookie or scope["method"] in SAFE:
            return
        found = {name: value for name, value in scope["headers"] if name in LOOKED_AT}
        origin, site = found.get(b"origin"), found.get(b"sec-fetch-site")
        if b"cookie" not in found or origin in self._origins:
            return
        host = found.get(b"host", b"")
        own = b"https://" + host
        if site is not None:
            origin = None
        elif origin == b"http://" + host and scope.get("scheme") != "https":
            own = origin  # where TLS ends at a proxy nobody can tell which of the two it is
        reason = cross_site_form(site, origin, own)
        if reason is not None:
            raise Refused(403, reason)
