"""Whole pages, kept for as long as every answer they were made of is fresh (RFC 9111 section 4.2)."""

from __future__ import annotations

import math
import time

from starlette.types import Scope

from ..cache import MemoryStore, Stored
from ..delivery import Coding
from ..errors import DeclarationError
from .inputs import RequestInputs
from .plan import Plan

__all__ = ["Kept", "PageCache"]

Headers = tuple[tuple[bytes, bytes], ...]
Kept = tuple[bytes, bytes, Headers, int]
"""A page, its entity tag, its own headers, and its age in seconds."""


class PageCache:
    """The pages of one route. Only what is nobody's in particular: ``check`` refuses the rest when it is declared."""

    __slots__ = ("_name", "_store")

    def __init__(self, name: str, store: MemoryStore) -> None:
        self._name = f"page\n{name}\n".encode()
        self._store = store

    @staticmethod
    def check(plan: Plan, inputs: RequestInputs, method: str, *, public: bool) -> None:
        """Raise ``DeclarationError`` unless path and query alone decide what the page shows."""
        if method != "GET" or not public:
            raise DeclarationError(f"{plan.name}: only a public GET page can be cached as a whole")
        if not inputs.by_path_and_query:
            raise DeclarationError(f"{plan.name}: a page that reads headers or cookies cannot be cached as a whole")
        if plan.uses_context:
            raise DeclarationError(
                f"{plan.name}: a page with a section that takes the request's context, which knows the app and its "
                "headers, cannot be cached as a whole"
            )
        if plan.clients:
            client = next(iter(plan.clients.values())).__name__
            raise DeclarationError(
                f"{plan.name}: a page with a section function that takes {client} cannot be cached as a whole, since "
                "only of sections that are operations it is known how long they are fresh; declare its call as one"
            )
        if not any(section.operation is not None for section in plan.sections):
            raise DeclarationError(f"{plan.name}: nothing says how long a page without service calls is fresh")

    def key(self, scope: Scope, version: str | None = None) -> bytes:
        """The key of a request for ``version``."""
        path = scope["path"].encode("utf-8", "surrogatepass")
        key = b"%b%b\n%b" % (self._name, path, scope["query_string"])
        return key if version is None else b"%b\n%b" % (key, version.encode())

    def get(self, key: bytes) -> Kept | None:
        """The page, its entity tag, its own headers and its age in seconds, while it is fresh."""
        stored = self._store.get(key)
        if stored is None:
            return None
        # What was put here has no age of its own. A clock that was set back makes nothing younger than it came.
        age = max(0.0, time.time() - stored.stored_at)
        if age >= stored.lifetime:
            return None
        return stored.body, stored.etag or b"", stored.headers, int(age)

    def put(self, key: bytes, content: bytes, tag: bytes, headers: Headers, fresh_for: float) -> None:
        """Keep it with its own ``headers`` for ``fresh_for`` seconds; not at all for 0 or infinity, which no answer has
        vouched for."""
        if 0 < fresh_for < math.inf:
            self._store.put(key, _stored(content, tag, headers, fresh_for))

    def compressed(self, scope: Scope, coding: Coding, tag: bytes, content: bytes) -> bytes:
        """``content``, the answer to this request, in this coding, compressed once for all who ask for the same; known
        by its tag, if it has one."""
        if not tag:
            return coding.compress(content)
        key = b"coded\n%b\n%b\n%b" % (coding.name, tag, self.key(scope))
        known = self._store.get(key)
        if known is not None:
            return known.body
        body = coding.compress(content)
        self._store.put(key, _stored(body, tag, (), math.inf))
        return body


def _stored(body: bytes, tag: bytes, headers: Headers, fresh_for: float) -> Stored:
    now, etag = time.time(), tag or None
    return Stored(200, headers, body, (), now, 0.0, fresh_for, 0.0, 0.0, False, True, etag, None)
