"""One whole answer on its way out: conditional, compressed, or as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.types import Scope

from .coding import Coding, Codings
from .etag import matching
from .settings import Delivery

__all__ = ["Deliverer"]

Header = tuple[bytes, bytes]
Compressed = Callable[[Scope, Coding, bytes, bytes], bytes]
NOT_MODIFIED = 304
VARY = (b"vary", b"Accept-Encoding")


class Deliverer:
    """Delivers the answers of one route, as its gateway's ``settings`` say; ``compress`` False leaves them as they
    are. ``tags`` is whether they have entity tags, ``active`` whether there is anything to do."""

    __slots__ = ("_codings", "active", "tags")

    def __init__(self, settings: Delivery, *, tags: bool, compress: bool = True) -> None:
        self.tags = tags and settings.etag
        self._codings = Codings(settings.codings, settings.minimum) if compress and settings.codings else None
        self.active = self.tags or self._codings is not None

    def deliver(
        self,
        asked: Iterable[Header],
        status: int,
        content: bytes,
        tag: bytes,
        compressed: Compressed | None = None,
        scope: Scope | None = None,
    ) -> tuple[int, bytes, list[Header]]:
        """Status, content and headers of the answer to a request with the headers ``asked``. ``tag`` is the content's,
        empty when it has none; ``compressed(scope, coding, tag, content)`` may know it in a
        coding already, as the answer to the request with this ``scope``."""
        codings = self._codings
        headers: list[Header] = []
        fields = dict(asked)
        coding = None
        if codings is not None and len(content) >= codings.minimum:
            headers.append(VARY)
            coding = codings.choose(fields.get(b"accept-encoding", b""))
        if tag:
            condition = fields.get(b"if-none-match")
            if condition is not None:
                known = matching(condition, tag)
                if known is not None:
                    headers.append((b"etag", known))
                    return NOT_MODIFIED, b"", headers
            headers.append((b"etag", tag if coding is None else tag[:-1] + coding.suffix))
        if coding is not None:
            headers.append((b"content-encoding", coding.name))
            if compressed is None or scope is None:
                content = coding.compress(content)
            else:
                content = compressed(scope, coding, tag, content)
        return status, content, headers
