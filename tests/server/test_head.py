"""The usual head, read at a glance: what llhttp reads, or left to it."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_core.server.head import END, header_fields, plain_request

Fields = list[tuple[bytes, bytes]]


class Llhttp:
    """The other reading."""

    def __init__(self, data: bytes) -> None:
        self.target = b""
        self.fields: Fields = []
        self.whole = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_message_complete(self) -> None:
        self.whole += 1


# A request that is usual in all but a few places, and there has what means something to one parser or the other.
TARGETS = st.lists(st.sampled_from([b"/", b"a", b"?", b"%41", b"&", b"=", b"~", b";"]), max_size=5).map(b"".join)
NAMES = st.sampled_from([b"Host", b"X-Note", b"Connection", b"Accept", b"Cookie", b"a!#$%&'*+.^_`|~9"])
VALUES = st.sampled_from([b"keep-alive", b"", b"a:b", b"\xff", b"a  b", b"Keep-Alive", b'"', b"x" * 50])
GLUE = st.sampled_from([b": ", b":", b":\t ", b": \t"])
ODD = [
    b"\x00", b"\t", b"\n", b"\x0b", b"\r", b"\r\n", b"\r\n\r\n", b"\r\n ", b" ", b"#", b"%", b"[", b"\x7f", b"\x80",
    b"\xff", b":", b"(", b"close", b"HTTP/1.0", b"POST", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n",
    b"Upgrade: h2c\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\n",
    b"Proxy-Connection: close\r\n", b"Expect: 100-continue\r\n", b"GET / HTTP/1.1\r\n\r\n",
]  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"HEAD"]))
    line = b"%b /%b HTTP/1.1\r\n" % (method, draw(TARGETS))
    fields = draw(st.lists(st.tuples(NAMES, GLUE, VALUES, st.just(b"\r\n")).map(b"".join), min_size=1, max_size=4))
    data = line + b"".join(fields) + b"\r\n"
    for piece in draw(st.lists(st.sampled_from(ODD), max_size=2)):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + piece + data[at + draw(st.integers(0, 1)) :]
    return data


@settings(max_examples=700)
@given(requests())
def test_what_is_read_is_what_llhttp_reads(data: bytes) -> None:
    """Byte for byte the same target and fields, one whole request, and the connection goes on."""
    request = plain_request(data)
    if request is None:
        return
    method, path, query, block = request
    fields = header_fields(block)
    if fields is None:
        return
    other = Llhttp(data)
    assert other.whole == 1
    assert other.parser.should_keep_alive()
    assert not other.parser.should_upgrade()
    assert other.parser.get_method() == method.encode()
    assert other.parser.get_http_version() == "1.1"
    assert other.fields == fields
    target = httptools.parse_url(other.target)
    assert (target.path, target.query or b"") == (path, query)


USUAL = b"GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: x\r\nX-Note:\t a b \r\nEmpty:\r\nConnection: Keep-Alive\r\n\r\n"


def test_the_usual_is_read() -> None:
    request = plain_request(USUAL)
    assert request is not None
    assert request[:3] == ("GET", b"/a/b%20c", b"d=e&f")
    assert header_fields(request[3]) == [
        (b"host", b"x"),
        (b"x-note", b"a b"),
        (b"empty", b""),
        (b"connection", b"Keep-Alive"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        USUAL[:-1],
        USUAL + b"\r\n",
        USUAL + USUAL,
        b"\r\n" + USUAL,
        USUAL.replace(b"GET", b"POST"),
        USUAL.replace(b"/a/b", b"http://x/a/b"),
        USUAL.replace(b"1.1", b"1.0"),
        USUAL.replace(b"&f", b"#f"),
    ],
)
def test_what_is_not_one_plain_request_is_left_alone(data: bytes) -> None:
    assert plain_request(data) is None


@pytest.mark.parametrize(
    "line",
    [b"Content-Length: 0", b"transfer-encoding: chunked", b"Connection: close", b"CONNECTION: keep-alive, x",
     b"Upgrade: h2c", b"Expect: 100-continue", b"Proxy-Connection: close",
     b"a b: c", b": c", b"a", b" a: b", b"a: \x00",
     b"a: \x7f"],
)  # fmt: skip
def test_what_says_how_long_it_is_is_left_alone(line: bytes) -> None:
    assert header_fields(b"Host: x\r\n%b%b" % (line, END)) is None


def test_no_fields_at_all() -> None:
    """It is refused later, for its missing host."""
    request = plain_request(b"GET / HTTP/1.1\r\n\r\n")
    assert request is None or header_fields(request[3]) is None
