"""CORS (Fetch standard, "CORS protocol"), computed once: an allowed origin is a look-up."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .settings import Cors

__all__ = ["CorsPolicy"]

Header = tuple[bytes, bytes]

_VARY: tuple[Header, ...] = ((b"vary", b"Origin"),)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


class CorsPolicy:
    """Answers what a browser asks before it gives a script another origin's answer.

    Every answer says ``Vary: Origin``, whoever asked: a cache must not give one origin what another was allowed.
    """

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._any = cors.origins == ("*",)
        self._patterns = [_pattern(origin) for origin in cors.origins if "*." in origin]
        exact = () if self._any else (origin.encode() for origin in cors.origins if "*" not in origin)
        self._answers = {origin: self._answer(origin) for origin in exact}
        self._everybody = self._answer(b"*")
        self._preflight = self._preflight_headers(cors)

    def answer(self, headers: Sequence[Header]) -> tuple[Header, ...]:
        """What goes with the answer to a request with these headers (names in lower case)."""
        for name, value in headers:
            if name == b"origin":
                return self._of(value)
        return _VARY

    def allows(self, origin: bytes) -> bool:
        """Whether scripts of this origin may read answers."""
        return self._of(origin) is not _VARY

    def preflight(self, headers: Sequence[Header]) -> list[Header] | None:
        """What answers a preflight from an allowed origin, besides ``answer``; None when the origin is not allowed.
        Methods and headers are listed, and it is the browser that compares."""
        asked = dict(headers)
        if not self.allows(asked[b"origin"]):
            return None
        if self._cors.private_network and asked.get(b"access-control-request-private-network") == b"true":
            return [*self._preflight, (b"access-control-allow-private-network", b"true")]
        return self._preflight

    @staticmethod
    def is_preflight(headers: Sequence[Header]) -> bool:
        """Whether an OPTIONS request with these headers asks for another request."""
        names = {name for name, _ in headers}
        return b"origin" in names and b"access-control-request-method" in names

    def _of(self, origin: bytes) -> tuple[Header, ...]:
        found = self._answers.get(origin)
        if found is not None:
            return found
        if self._any:
            return _VARY if origin == b"null" else self._everybody
        if any(pattern.fullmatch(origin) for pattern in self._patterns):
            return self._answer(origin)
        return _VARY

    def _answer(self, origin: bytes) -> tuple[Header, ...]:
        headers = [(b"access-control-allow-origin", origin), *_VARY]
        if self._cors.credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        if self._cors.expose:
            headers.append((b"access-control-expose-headers", ", ".join(self._cors.expose).encode()))
        return tuple(headers)

    @staticmethod
    def _preflight_headers(cors: Cors) -> list[Header]:
        headers = [
            (b"access-control-allow-methods", ", ".join(cors.methods).encode()),
            (b"access-control-max-age", b"%d" % cors.max_age),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]
        if cors.headers:
            headers.append((b"access-control-allow-headers", ", ".join(cors.headers).encode()))
        return headers


def _pattern(origin: str) -> re.Pattern[bytes]:
    """Matches the origins of ``https://*.example.com``: the star is one label, and nothing but one."""
    before, after = origin.split("*")
    return re.compile(f"{re.escape(before)}{_LABEL}{re.escape(after)}".encode())
