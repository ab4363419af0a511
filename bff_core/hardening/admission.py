"""Admission: what is refused before anything else is done, and preflights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import structlog
from starlette.types import Message, Receive, Scope

from ..errors import Problem
from .answers import Header
from .body import BodyCaps, LimitedBody
from .cors import CorsPolicy
from .hosts import HostRule
from .path import path_fault

if TYPE_CHECKING:
    from ..settings import Settings  # which itself is made of this room's settings

__all__ = ["Admission"]

log = structlog.get_logger("bff.security")

MAX_QUERY_FIELDS = 100
MAX_ACCEPT = 1024
_VERSIONS = frozenset({"1.0", "1.1", "2", "3"})
# Two of these, and two readers may each believe another one.
_SINGLE = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"origin",
    }
)
_NO_BODY = frozenset({"GET", "HEAD", "TRACE", "CONNECT"})
_CLOSE = {"connection": "close"}
_HEALTH = "/health/"


class Admission:
    """Lets a request in that has one meaning and a reasonable size."""

    def __init__(self, settings: Settings, hosts: HostRule, cors: CorsPolicy | None) -> None:
        caps = settings.hardening
        self._hosts = hosts
        self._cors = cors
        self._max_query = settings.max_query
        self._max_path = caps.max_path
        self._max_headers = caps.max_headers
        self._max_header_bytes = caps.max_header_bytes
        self._warned = False
        self._caps = BodyCaps(settings.max_body, caps.body_timeout, caps.max_json_depth, caps.max_json_members)

    def admit(self, scope: Scope, receive: Receive) -> Receive:
        """Raise a ``Problem`` or let the request in; what it gives is to be read instead of ``receive``."""
        pairs = scope["headers"]
        headers = dict(pairs)
        self._check_headers(pairs, headers)
        self.check_target(scope)
        self._check_host(scope, headers.get(b"host"))
        return LimitedBody(receive, self._caps, headers) if _has_body(scope, headers) else receive

    def preflight(self, scope: Scope) -> list[Header] | None:
        """The headers of the 204 that answers a preflight; None when the request is none. Raises a 403 problem."""
        headers = scope["headers"]
        if self._cors is None or scope["method"] != "OPTIONS" or not self._cors.is_preflight(headers):
            return None
        answer = self._cors.preflight(headers)
        if answer is None:
            raise Problem(403, "Scripts of this origin may not use this gateway.")
        return answer

    def admits_websocket(self, scope: Scope) -> bool:
        """Whether a WebSocket may be opened: for a host of ours, and by a script of that host or of an allowed origin.
        Browsers send their credentials with it whoever asks, and heed no answer's CORS headers (RFC 6455 section 10.2).
        """
        try:
            self.admit({**scope, "method": "GET"}, _nothing)
        except Problem:
            return False
        headers = dict(scope["headers"])
        origin, host = headers.get(b"origin"), headers.get(b"host", b"")
        if origin is None or (host and origin.partition(b"://")[2].lower() == host.lower()):
            return True
        return self._cors is not None and self._cors.allows(origin)

    def _check_headers(self, pairs: Sequence[Header], headers: dict[bytes, bytes]) -> None:
        if len(pairs) > self._max_headers:
            raise Problem(431, f"The request has more than {self._max_headers} headers.", headers=_CLOSE)
        size = sum(map(len, headers)) + sum(map(len, headers.values()))
        if len(headers) < len(pairs):
            size = sum(len(name) + len(value) for name, value in pairs)
            names = [name for name, _ in pairs]
            for name in _SINGLE:
                if names.count(name) > 1:
                    raise Problem(400, f"The header {name.decode()} is given more than once.", headers=_CLOSE)
        if size > self._max_header_bytes:
            raise Problem(431, f"The headers are larger than {self._max_header_bytes} bytes.", headers=_CLOSE)
        if len(headers.get(b"accept", b"")) > MAX_ACCEPT:
            raise Problem(400, f"The header accept is longer than {MAX_ACCEPT} bytes.")

    def check_target(self, scope: Scope) -> None:
        """Raise a ``Problem`` unless path and query have one meaning and a reasonable size."""
        path = scope.get("raw_path")
        if path is None:
            path = quote(scope["path"]).encode()
        if len(path) > self._max_path:
            raise Problem(414, f"The path is longer than {self._max_path} bytes.")
        fault = path_fault(path)
        if fault is not None:
            raise Problem(400, f"The path {fault}.")
        query = scope["query_string"]
        if query:
            if len(query) > self._max_query:
                raise Problem(414, f"The query is longer than {self._max_query} bytes.")
            if query.count(b"&") >= MAX_QUERY_FIELDS:
                raise Problem(400, f"The query has more than {MAX_QUERY_FIELDS} fields.")

    def _check_host(self, scope: Scope, host: bytes | None) -> None:
        if scope["http_version"] not in _VERSIONS:
            raise Problem(505, headers=_CLOSE)
        allowed = self._hosts.allows(host) if host is not None else None
        # Who looks after a gateway asks an instance by its address, not by the name it serves.
        if allowed or scope["path"].startswith(_HEALTH):
            return
        if allowed is None:
            raise Problem(400, "The request does not say which host it is for.", headers=_CLOSE)
        if not self._warned:
            self._warned = True
            log.warning("host.refused", host=host.decode("latin-1") if host else "", hint="set BFF_ALLOWED_HOSTS")
        raise Problem(421, "This host is not served here.")


async def _nothing() -> Message:
    return {"type": "websocket.disconnect"}


def _has_body(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether a body follows. Raises a 400 problem when that has two readings (RFC 9112 section 6.3)."""
    length = headers.get(b"content-length")
    coding = headers.get(b"transfer-encoding")
    version = scope["http_version"]
    if length is None and coding is None:
        return version in ("2", "3") and scope["method"] not in _NO_BODY
    if coding is not None and (length is not None or version != "1.1" or coding.strip().lower() != b"chunked"):
        raise Problem(400, "Where the body ends is not clear.", headers=_CLOSE)
    if length is not None and not (length.isdigit() and len(length) < 20):  # noqa: PLR2004 - what 64 bits can hold
        raise Problem(400, "The header content-length is no length.", headers=_CLOSE)
    if length is not None and not int(length):
        return False
    if scope["method"] in _NO_BODY:
        raise Problem(400, f"A {scope['method']} request has no body.", headers=_CLOSE)
    if b"upgrade" in headers:
        # Servers that hand the connection over after the head would read the body as the next request.
        raise Problem(400, "A request that asks for another protocol has no body.", headers=_CLOSE)
    return True
