"""The quick way to read an answer gives what llhttp gives, or nothing."""

from __future__ import annotations

import pytest
from httptools import HttpParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_core.errors import BadResponse
from bff_core.wire import header_names
from bff_core.wire.answer import Answer, Limits, StopParsing
from bff_core.wire.whole import whole_answer

LIMITS = Limits(max_body=50, max_head=400, max_headers=6)
NAMES = [
    b"Content-Length",
    b"content-type",
    b"CONNECTION",
    b"Proxy-Connection",
    b"Transfer-Encoding",
    b"X-Y",
    b"Content-Encoding",
    b"x_",
    b"",
]
VALUES = [
    b"3",
    b"0",
    b"03",
    b"+3",
    b"3, 3",
    b"keep-alive",
    b"close",
    b"chunked",
    b"gzip",
    b" a b ",
    b"",
    b"\xc3\xa9",
    b"a\rb",
]
HEADER = st.tuples(st.sampled_from(NAMES), st.sampled_from([b":", b": ", b":\t", b" :"]), st.sampled_from(VALUES))
STATUS = st.sampled_from([b"200 OK", b"200", b"404 ", b"204 No Content", b"304 x", b"100 Continue", b"600 x", b"20 x"])
LINE_ENDS = st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\n "])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    version = draw(st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"]))
    data = version + b" " + draw(STATUS) + draw(LINE_ENDS)
    for name, colon, value in draw(st.lists(HEADER, max_size=8)):
        data += name + colon + value + draw(LINE_ENDS)
    if draw(st.booleans()):
        data += b"Content-Length: 3\r\n"
    data += b"\r\n" + draw(st.sampled_from([b"abc", b"abc", b"", b"ab", b"abcd", b"abcHTTP/1.1 200 OK\r\n\r\n"]))
    return data


def by_llhttp(data: bytes) -> Answer:
    answer = Answer(LIMITS)
    answer.head_bytes = len(data)
    answer.feed(data)
    return answer


@given(answers())
@settings(max_examples=2000, deadline=None)
def test_what_is_read_quickly_is_what_llhttp_reads(data: bytes) -> None:
    quick = whole_answer(data, LIMITS)
    if quick is None:
        return
    slow = by_llhttp(data)
    assert slow.complete
    assert slow.keep
    response = slow.response()
    assert (quick.status, quick.headers, quick.body) == (response.status, response.headers, response.body)


USUAL = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc"


def test_the_usual_answer_is_read_quickly() -> None:
    response = whole_answer(USUAL, LIMITS)
    assert response is not None
    assert (response.status, response.body) == (200, b"abc")
    assert response.header(b"server") == b"nginx"
    assert response.has_any(header_names("etag", "server"))
    assert not response.has_any(header_names("etag", "nginx"))


@pytest.mark.parametrize(
    "data",
    [
        USUAL[:-1],
        USUAL + b"x",
        USUAL.replace(b"keep-alive", b"close"),
        USUAL.replace(b"keep-alive", b"keep-alive, close"),
        USUAL.replace(b"Connection: keep-alive", b"Proxy-Connection: close"),
        USUAL.replace(b"Server: nginx", b"Content-Length: 3"),
        USUAL.replace(b"Server: nginx", b"Transfer-Encoding: chunked"),
        USUAL.replace(b"Server: nginx", b"Content-Encoding: gzip"),
        USUAL.replace(b"Server: nginx", b"Server : nginx"),
        USUAL.replace(b"Server: nginx", b"Server: a\r\n b"),
        USUAL.replace(b"Server: nginx", b"Server: a\x00b"),
        USUAL.replace(b"Server: nginx\r\n", b"Server: nginx\n"),
        USUAL.replace(b": 3", b": 51").replace(b"abc", b"x" * 51),
        USUAL.replace(b"nginx", b"n" * 400),
        USUAL.replace(b"Server: nginx\r\n", b"A: b\r\n" * 6),
        USUAL.replace(b"200 OK", b"304 Not Modified"),
        USUAL.replace(b"200 OK", b"103 Early Hints"),
        USUAL.replace(b"1.1", b"1.0"),
    ],
)
def test_the_unusual_is_left_to_llhttp(data: bytes) -> None:
    assert whole_answer(data, LIMITS) is None


def test_llhttp_agrees_about_the_dangerous_ones() -> None:
    """The strategy above does produce what must be refused."""
    for data in (USUAL.replace(b"Server: nginx", b"Transfer-Encoding: gzip"), USUAL + b"x"):
        with pytest.raises((HttpParserError, StopParsing, BadResponse)):
            by_llhttp(data)
