"""What goes out: request heads, rendered so that nothing a caller passes can become another request."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["HeaderBlocks", "Origin", "Verb", "check_target", "chunked_head", "plain_request", "verb"]

_TOKEN = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_TARGET = re.compile(r"/[!-~]*+")
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=-]++|\[[0-9A-Fa-f:.]++\]")
_OURS = rb"host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade"
# The lookahead is only tried at names that begin as one of ours does.
_BLOCK = re.compile(
    rb"(?:(?:[^HhCcTtKkPpUu\x00-\x20\"(),/:;<=>?@\[\\\]{}\x7f-\xff]|(?!(?i:" + _OURS + rb"):)[" + _TOKEN + rb"])"
    rb"[" + _TOKEN + rb"]*+:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)*+"
)
_KNOWN_BLOCKS = 256
_MOST_METHODS = 64
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_BODIED = frozenset({"POST", "PUT", "PATCH"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin:
    """``scheme://host[:port]``, taken apart; raises ``ValueError`` for anything else.

    ``host`` and ``port`` are where to connect, ``authority`` and ``name`` whom to speak to: the same, or the
    ``host[:port]`` given as such.
    """

    __slots__ = ("authority", "host", "name", "port", "secure")

    def __init__(self, origin: str, authority: str | None = None) -> None:
        if not origin.isprintable() or " " in origin:
            raise ValueError(f"not an origin: {origin!r}")  # urlsplit leaves such characters out
        parts = urlsplit(origin)
        host = parts.hostname
        default = _DEFAULT_PORTS.get(parts.scheme)
        extra = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
        if default is None or not host or extra:
            raise ValueError(f"not an origin (http or https, host, perhaps a port): {origin!r}")
        name = f"[{host}]" if ":" in host else host.encode("idna").decode() if not host.isascii() else host
        if _HOST.fullmatch(name) is None:
            raise ValueError(f"not a host: {host!r}")
        self.host = name.strip("[]")
        self.port = parts.port or default
        self.secure = parts.scheme == "https"
        self.authority = (name if self.port == default else f"{name}:{self.port}").encode()
        self.name = self.host
        if authority is not None:
            other = Origin(f"{parts.scheme}://{authority}")
            self.authority, self.name = other.authority, other.host


class Verb:
    """A method and what it means for framing and retrying."""

    __slots__ = ("bodied", "head", "idempotent", "name")

    def __init__(self, method: str) -> None:
        if _METHOD.fullmatch(method) is None or method == "CONNECT":
            raise ValueError(f"not a method that can be sent: {method!r}")
        self.name = method.encode()
        self.idempotent = method in _IDEMPOTENT
        self.head = method == "HEAD"
        self.bodied = method in _BODIED


_VERBS = {method: Verb(method) for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")}


def verb(method: str) -> Verb:
    """The ``Verb`` of ``method``; raises ``ValueError`` when it is none."""
    known = _VERBS.get(method)
    if known is None:
        known = Verb(method)
        if len(_VERBS) < _MOST_METHODS:
            _VERBS[method] = known
    return known


def check_target(target: str) -> None:
    """Raise ``ValueError`` unless ``target`` is in origin form and has no byte that could end the request line."""
    if _TARGET.fullmatch(target) is None:
        raise ValueError(f"not a request target in origin form: {target!r}")


class HeaderBlocks:
    """Checks header blocks, and remembers a bounded number of good ones: most are sent again and again."""

    __slots__ = ("_good",)

    def __init__(self) -> None:
        self._good: set[bytes] = set()

    def check(self, block: bytes) -> None:
        """Raise ``ValueError`` unless ``block`` is lines ``name: value`` with CRLF, none of them about framing."""
        if block in self._good:
            return
        if _BLOCK.fullmatch(block) is None:
            raise ValueError("not a block of header lines, or one of them is the wire's own to send")
        if len(self._good) >= _KNOWN_BLOCKS:
            self._good.clear()
        self._good.add(block)


def plain_request(method: Verb, target: str, host: bytes, headers: bytes, body: bytes) -> bytes:
    """The whole request; everything in it has been checked."""
    if body or method.bodied:
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
            method.name, target.encode("ascii"), host, headers, len(body), body,
        )  # fmt: skip
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method.name, target.encode("ascii"), host, headers)


def chunked_head(method: Verb, target: str, host: bytes, headers: bytes, length: int | None) -> bytes:
    """The head of a request whose body follows piecemeal: ``length`` bytes of it, or chunked when that is None."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n\r\n" % (
        method.name, target.encode("ascii"), host, headers, framing,
    )  # fmt: skip
