"""Answers, most of them nearly sound."""

from __future__ import annotations

import gzip
import zlib
from random import Random

from ..mutation import cut, mutated
from .fuzzing import LIMITS, Asked, encoded

__all__ = ["PARTS", "wrong_answers", "wrong_bytes"]

PARTS = (
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n", b"HTTP/1.1 150 C\r\n", b"HTTP/1.0 204 N\r\n", b"HTTP/1.0 200 N\r\n",
    b"HTTP/1.1 304 N\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 404 \r\n", b"HTTP/1.1 404\r\n", b"RTSP/1.0 200 OK\r\n",
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"content-length: 5\r\n", b"content-length: 0\r\n", b"Content-Length:5 \r\n",
    b"content-length: 10001\r\n", b"content-length: 18446744073709551621\r\n", b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding:chunked \r\n", b"transfer-encoding: identity\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n",
    b"00\r\n", b"5;a=b\r\nhello\r\n", b"hello", b"connection: close\r\n", b"connection: keep-alive\r\n",
    b"connection: upgrade\r\n", b"connection: x, close\r\n", b"proxy-connection: close\r\n", b"trailer: x\r\n",
    b"upgrade: x\r\n", b"content-encoding: gzip\r\n", b"content-encoding: deflate\r\n", b"x: y\r\n", b"a:\r\n",
    b"Set-Cookie: a\tb \r\n", b" folded\r\n", b" ", b"\t", b":", b";", b"\0", b"\x7f", b"\xff", b"f" * 20,
    b"transfer-encoding", b"content-length:", b"a: b\r\n" * LIMITS.max_headers, b"y" * LIMITS.max_head,
    b"y" * LIMITS.max_body,
)  # fmt: skip
_LINES = (
    b"x: y\r\n", b"A-b:\r\n", b"q:  z \r\n", b"connection: keep-alive\r\n", b"connection: close\r\n", b'etag: "a"\r\n',
    b"set-cookie: a\r\n", b"x: \xc3\xa4\r\n",
)  # fmt: skip


def _informational(random: Random) -> bytes:
    line = random.choice([b"100 Continue", b"103 Early Hints", b"102 P", b"104 X", b"199", b"101 S"])
    framing = random.choice([b"", b"", b"link: x\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"])
    body = random.choice([b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n"])
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (line, framing, body)


def _answer(random: Random) -> bytes:
    body = random.choice([b"", b"hello", random.randbytes(random.randrange(40)), b"z" * 3000])
    lines = b"".join(random.choice(_LINES) for _ in range(random.randrange(4)))
    coding = random.randrange(8)
    if coding == 0:
        body, lines = gzip.compress(body, mtime=0), lines + b"content-encoding: gzip\r\n"
    elif coding == 1:
        body, lines = zlib.compress(body), lines + b"Content-Encoding: deflate\r\n"
    early = _informational(random) if random.randrange(4) == 0 else b""
    status = random.choice([b"200 OK", b"200 OK", b"200", b"404 Not Found", b"204 N", b"304 N", b"500 ", b"600 X"])
    head = early + random.choice([b"HTTP/1.1 "] * 8 + [b"HTTP/1.0 "] * 2 + [b"HTTP/2.0 "]) + status + b"\r\n" + lines
    framing = random.randrange(4)
    if framing == 0:
        return head + b"\r\n" + body
    if framing == 1:
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunks(random, body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _chunks(random: Random, body: bytes) -> bytes:
    chunks = b""
    while body:
        size = random.randint(1, len(body))
        extension = random.choice([b"", b"", b";a=b", b';a="b"'])
        chunks += b"%x%b\r\n%b\r\n" % (size, extension, body[:size])
        body = body[size:]
    trailers = random.choice([b"", b"", b"x-sum: 1\r\n", b"a: b\r\nc:\r\n", b"Connection: close\r\n"])
    return chunks + b"0\r\n" + trailers + b"\r\n"


def wrong_answers(random: Random) -> list[Asked]:
    """Up to three requests over one connection, and what the server has to say to each."""
    asked = []
    for _ in range(random.choice([1, 1, 2, 3])):
        if random.randrange(5):
            data = mutated(random, _answer(random), PARTS)
        else:
            data = b"HTTP/1.1 200 OK\r\n" + b"".join(random.choice(PARTS) for _ in range(random.randrange(10)))
        head = random.randrange(5) == 0
        if head and random.randrange(3):
            data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        asked.append(Asked(cut(random, data), head, random.randrange(4) == 0))
    return asked


def wrong_bytes(random: Random) -> bytes:
    """The same as a corpus file."""
    return encoded(wrong_answers(random))
