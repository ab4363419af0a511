"""Which headers go to the service, and which come back. Allow-lists: what is not on them stays here. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from http import HTTPStatus

from starlette.types import Scope

from ..errors import DeclarationError, Problem
from ..forwarded import TrustedProxies

__all__ = ["RequestHeaders", "ResponseHeaders", "forwarded"]

Headers = Iterable[tuple[bytes, bytes]]

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(rb"[A-Za-z0-9.\-_:\[\]]{1,255}")
_LENGTH = re.compile(rb"[0-9]{1,18}")

_REQUEST = frozenset(b"""
    accept accept-encoding accept-language cache-control content-digest content-disposition content-encoding
    content-language content-type if-match if-modified-since if-none-match if-range if-unmodified-since last-event-id
    prefer range repr-digest want-content-digest want-repr-digest
""".split())  # fmt: skip
_RESPONSE = frozenset(b"""
    accept-ranges age allow cache-control content-digest content-disposition content-encoding content-language
    content-range content-type etag expires last-modified preference-applied repr-digest retry-after vary
""".split())  # fmt: skip
# Hop by hop (RFC 9110 section 7.6.1), framing, or set by the gateway itself.
_OURS = frozenset(b"""
    connection content-length date expect forwarded grpc-timeout host keep-alive proxy-authenticate
    proxy-authorization proxy-connection server te trailer traceparent tracestate transfer-encoding upgrade
    x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id
""".split())  # fmt: skip
_BODYLESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_SHARED = re.compile(
    r"\s*(?:public|private|s-maxage\b.*|proxy-revalidate|stale-while-revalidate\b.*|)\s*", re.IGNORECASE
)


def _allowed(defaults: frozenset[bytes], further: Collection[str], path: str) -> frozenset[bytes]:
    if isinstance(further, str) or any(_TOKEN.fullmatch(name) is None for name in further):
        raise DeclarationError(f"the proxy at '{path}': {further!r} is not a list of header names")
    names = {name.lower().encode() for name in further}
    if ours := sorted(names & _OURS):
        raise DeclarationError(
            f"the proxy at '{path}' cannot pass '{ours[0].decode()}': it is a hop's own, or the gateway's"
        )
    return defaults | names


def _named(connection: bytes) -> set[bytes]:
    return {name.strip().lower() for name in connection.split(b",")}


class RequestHeaders:
    """What goes to the service: end-to-end headers about content and conditions, ``further`` ones, and our own."""

    __slots__ = ("_allowed",)

    def __init__(self, path: str, further: Collection[str]) -> None:
        self._allowed = _allowed(_REQUEST, further, path)

    def read(self, scope: Scope, ours: bytes, proxies: TrustedProxies) -> tuple[bytes, int | None]:
        """The header block, ``ours`` first, and the length of the body: 0 for none, None when it is not known before.
        ``proxies`` are those whose word about the client is passed on.

        Raises a 400 problem for a length that is none.
        """
        allowed = self._allowed
        kept: list[tuple[bytes, bytes]] = []
        connection = host = length = b""
        chunked = False
        for header in scope["headers"]:
            name = header[0]
            if name in allowed:
                kept.append(header)
            elif name == b"host":
                host = header[1]
            elif name == b"connection":
                connection = header[1] if not connection else connection + b"," + header[1]
            elif name == b"content-length":
                if length and header[1] != length:
                    raise Problem(400, "The request has two lengths.")
                length = header[1]
            elif name == b"transfer-encoding":
                chunked = True
        if connection:
            gone = _named(connection)
            kept = [header for header in kept if header[0] not in gone]
        client = scope.get("client")
        chain = proxies.chain(client[0] if client else None, scope["headers"])
        block = ours + forwarded(chain, host, scope["scheme"])
        block += b"".join([b"%b: %b\r\n" % header for header in kept])
        if chunked:
            return block, None
        if not length:
            # HTTP/2 and later need not announce a body.
            announced = scope["http_version"].startswith("1") or scope["method"] in ("GET", "HEAD")
            return block, 0 if announced else None
        if _LENGTH.fullmatch(length) is None:
            raise Problem(400, "The request's length is not a number.")
        return block, int(length)


@lru_cache(maxsize=1024)
def forwarded(chain: tuple[str, ...], host: bytes, scheme: str) -> bytes:
    """``Forwarded`` (RFC 7239) and the ``X-Forwarded-`` headers that preceded it, as lines. ``chain`` are the addresses
    from the client's to that of the last one before us, whose request had this ``host`` and ``scheme``."""
    addresses = chain or ("unknown",)
    nodes = ", ".join([f'for="[{address}]"' if ":" in address else f"for={address}" for address in addresses])
    line = f"forwarded: {nodes};proto={scheme}".encode("latin-1")
    further = f"\r\nx-forwarded-for: {', '.join(addresses)}\r\nx-forwarded-proto: {scheme}\r\n".encode("latin-1")
    if _HOST.fullmatch(host) is None:
        return line + further
    return b'%b;host="%b"%bx-forwarded-host: %b\r\n' % (line, host, further, host)


class ResponseHeaders:
    """What comes back to the client: the same kind of headers, and ``further`` ones. The answer of a ``private`` route
    may be kept by the client's own cache only, whatever the service says, and for nobody with other credentials in the
    headers ``vary``."""

    __slots__ = ("_allowed", "_private", "_vary")

    def __init__(self, path: str, further: Collection[str], *, private: bool, vary: Collection[str] = ()) -> None:
        self._allowed = _allowed(_RESPONSE, further, path)
        self._private = private
        self._vary = ((b"vary", ", ".join(sorted(vary)).encode()),) if vary else ()

    def pick(self, status: int, headers: Headers, length: int | None = None) -> list[tuple[bytes, bytes]]:
        """The answer's headers, with its length if that is known: ``length`` (bytes), or what it says itself."""
        allowed = self._allowed
        picked = [header for header in headers if header[0] in allowed]
        for name, value in headers:
            if name == b"connection":
                gone = _named(value)
                picked = [header for header in picked if header[0] not in gone]
            elif name == b"content-length" and length is None and status not in _BODYLESS:
                picked.append((name, value))
        if length is not None and status not in _BODYLESS:
            picked.append((b"content-length", b"%d" % length))
        if self._private:
            said = [value for name, value in picked if name == b"cache-control"]
            picked = [header for header in picked if header[0] != b"cache-control"]
            picked += ((b"cache-control", _private(b",".join(said))), *self._vary)
        return picked


def _private(said: bytes) -> bytes:
    """``Cache-Control`` (RFC 9111 section 5.2.2) without what is for shared caches."""
    directives = [part for part in said.decode("latin-1").split(",") if _SHARED.fullmatch(part) is None]
    return ", ".join(["private", *(part.strip() for part in directives or ["no-cache"])]).encode("latin-1")
