"""Content codings: which one a client wants (RFC 9110 section 12.5.3), and compressing with it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

__all__ = ["Coding", "Codings", "missing"]

# zstd 3 gives the most for its time; brotli beyond 5 and zlib beyond 4 take twice as long for a twentieth less.
_LEVELS = {"zstd": 3, "br": 5, "gzip": 4}
_LIBRARIES = {"zstd": "zstandard", "br": "brotli"}
_ALIASES = {"x-gzip": "gzip"}
_QUALITY = re.compile(r"(?i:q)=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
_GZIP_WINDOW = 31
REMEMBERED = 256
LONGEST = 1024


def missing(name: str) -> bool:
    """Whether the library for this coding is not installed."""
    return name in _LIBRARIES and find_spec(_LIBRARIES[name]) is None


class Coding(NamedTuple):
    """One content coding: its token, how an entity tag of it ends, and its function."""

    name: bytes
    suffix: bytes
    compress: Callable[[bytes], bytes]


class Codings:
    """Chooses among the codings ``names``; of those a client likes equally, the first. Answers of less than
    ``minimum`` bytes are not worth it."""

    __slots__ = ("_by_name", "_chosen", "_names", "minimum")

    def __init__(self, names: Sequence[str], minimum: int) -> None:
        self._names = tuple(names)
        self._by_name = {name: Coding(name.encode(), b'-%b"' % name.encode(), _compressor(name)) for name in names}
        self._chosen: dict[bytes, Coding | None] = {}
        self.minimum = minimum

    def choose(self, accepted: bytes) -> Coding | None:
        """The coding for a request with this Accept-Encoding; None for none, and for one that is
        longer than a kilobyte. Clients send few different ones, so what
        was chosen is remembered."""
        try:
            return self._chosen[accepted]
        except KeyError:
            pass
        if len(accepted) > LONGEST:
            return None  # nobody's; to read it would cost more than the answer
        chosen = self._by_name.get(choose(accepted, self._names) or "")
        if len(self._chosen) >= REMEMBERED:
            self._chosen.clear()
        self._chosen[accepted] = chosen
        return chosen


def choose(accepted: bytes, offered: Sequence[str]) -> str | None:
    """Which of the ``offered`` codings an Accept-Encoding prefers to no coding, the first of equals."""
    qualities: dict[str, float] = {}
    for part in accepted.decode("latin-1").split(","):
        token, _, weight = part.partition(";")
        name = token.strip().lower()
        found = _QUALITY.fullmatch(weight.strip()) if weight else None
        # A weight that is none says nothing that could be relied on.
        quality = 1.0 if not weight else float(found[1]) if found else 0.0
        qualities.setdefault(_ALIASES.get(name, name), quality)
    other = qualities.get("*", 0.0)
    plain = qualities.get("identity", 0.0)
    best = max(offered, key=lambda name: qualities.get(name, other), default=None)
    if best is None or qualities.get(best, other) <= 0 or qualities.get(best, other) < plain:
        return None
    return best


def _compressor(name: str) -> Callable[[bytes], bytes]:
    level = _LEVELS[name]
    if name == "zstd":
        # The frame says how long the content is; a checksum would be TCP's and TLS's work again.
        compress: Callable[[bytes], bytes] = import_module("zstandard").ZstdCompressor(level=level).compress
        return compress
    if name == "br":
        brotli: Any = import_module("brotli")
        return lambda content: bytes(brotli.compress(content, quality=level))
    return _gzip


def _gzip(content: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVELS["gzip"], zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(content) + compressor.flush()
