"""Requests, most of them nearly sound, several over one connection."""

from __future__ import annotations

from random import Random

from ..mutation import cut, mutated
from .fuzzing import encoded

__all__ = ["wrong_bytes", "wrong_requests"]

_PARTS = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"POST /p HTTP/1.1\r\n",
    b"Host: a\r\n", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\n\n", b"Content-Length: 5\r\n", b"content-length: 0\r\n",
    b"Content-Length : 5\r\n", b"Content-Length: 40\r\n", b"content-length: 18446744073709551621\r\n",
    b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:chunked \r\n",
    b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: \x0bchunked\r\n",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"00\r\n", b"5;a=b\r\nhello\r\n", b"5 \r\nhello\r\n", b"hello",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n",
    b"Upgrade: websocket\r\n", b"Connection: content-length\r\n", b"Proxy-Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n", b"a:\r\n", b" folded\r\n", b" ", b"\t", b":", b";", b"\0", b"\x7f",
    b"\xff", b"HTTP/1.0", b"HTTP/0.9", b"http://evil/x", b"*", b"#f", b"?q=/../", b"x: y\r\n" * 50, b"y" * 5000,
)  # fmt: skip
_LINES = (
    b"Accept: */*\r\n", b"X-a: b\r\n", b"Cookie: a=b\r\n", b"Connection: keep-alive\r\n", b"Connection: close\r\n",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"x:  y \r\n",
    b"Content-Type: text/plain\r\n",
)  # fmt: skip
_TARGETS = (
    b"/",
    b"/quick",
    b"/late",
    b"/kept",
    b"/late/quick",
    b"/early",
    b"/early/quick?a=b",
    b"/x?late",
    b"http://a/quick",
    b"/%41",
)


def _request(random: Random) -> bytes:
    method = random.choice([b"GET", b"GET", b"HEAD", b"POST", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT"])
    version = random.choice([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"])
    lines = b"".join(random.choice(_LINES) for _ in range(random.choice([0, 0, 1, 1, 2])))
    head = b"%b %b %b\r\nHost: a\r\n%b" % (method, random.choice(_TARGETS), version, lines)
    body = random.choice([b"", b"hello", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"z" * 100])
    framing = random.randrange(3) if method in {b"POST", b"PUT", b"DELETE"} or random.randrange(8) == 0 else 0
    if framing == 0:
        return head + b"\r\n"
    if framing == 1:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    chunks = b""
    while body:
        size = random.randint(1, len(body))
        chunks += b"%x%b\r\n%b\r\n" % (size, random.choice([b"", b"", b";a=b"]), body[:size])
        body = body[size:]
    trailers = random.choice([b"", b"", b"x-sum: 1\r\n", b"Host: evil\r\n", b"Connection: close\r\n"])
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailers + b"\r\n"


def wrong_requests(random: Random) -> list[tuple[bytes, bool]]:
    """Up to four requests in pieces; see ``check``."""
    data = b"".join(_request(random) for _ in range(random.choice([1, 1, 2, 2, 3, 4])))
    return [(piece, random.randrange(3) > 0) for piece in cut(random, mutated(random, data, _PARTS))]


def wrong_bytes(random: Random) -> bytes:
    """The same as a corpus file."""
    return encoded(wrong_requests(random))
