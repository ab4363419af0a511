"""Path and header injection: the service sees one safely escaped segment, or nothing at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.hardening.path import path_fault

from .served import Served, served, statuses

REFUSED = {
    "..": "dot segment",
    "../admin": "dot segment",
    "x/../../admin": "dot segment",
    ".": "dot segment",
    "./x": "dot segment",
    "%2e%2e": "dot segment",
    "%2E%2e/admin": "dot segment",
    ".%2e": "dot segment",
    "..;/admin": "dot segment",
    "..;x=y/admin": "dot segment",
    "..%2fadmin": "encoded slash",
    "..%2Fadmin": "encoded slash",
    "a%2fb": "encoded slash",
    "..%5cadmin": "encoded slash",
    "..%c0%afadmin": "not UTF-8",
    "%c0%ae%c0%ae": "not UTF-8",
    "%e0%80%ae": "not UTF-8",
    "%ff": "not UTF-8",
    "%ed%a0%80": "not UTF-8",
    "%u002e%u002e": "percent signs",
    "..\\admin": "percent-encoded",
    "a%": "percent signs",
    "a%2": "percent signs",
    "a%zz": "percent signs",
    "a%00": "control",
    "a%0d%0aX-Admin:%201": "control",
    "a%0aGET%20/admin": "control",
    "a%7f": "control",
    "a%1b%5b2J": "control",
    "a%c2%85b": "control",
    "a%c2%9b2J": "control",
    "a%e2%80%a8b": "control",
    "a%e2%80%a9b": "control",
    "/admin": "empty segment",
    "a//b": "empty segment",
    "a/": "",
    'a"b': "percent-encoded",
    "a<b>": "percent-encoded",
    "a{b}": "percent-encoded",
    "a|b": "percent-encoded",
    "a^b`": "percent-encoded",
}
PASSED = [
    "%252e%252e",
    "..%252fadmin",
    "%25252fadmin",
    "a%3fadmin=1",
    "a%23fragment",
    "a%3Bb",
    "a;b=c",
    "a%20b",
    "a+b",
    "a%26b%3Dc",
    "http:",
    "a:b@c",
    "...",
    "..a",
    "%61",
    "%c3%bc",
    "%ef%bc%8e%ef%bc%8e%ef%bc%8fadmin",
    "%e2%80%ae",
    "'or'1'='1",
    "%25%30%61",
    "$(id)",
    "a%22b",
    "a%7Bb%7D",
]


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


def get(path: str, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s\r\n" % (path.encode("latin-1"), lines)


@pytest.mark.parametrize("segment", REFUSED)
async def test_paths_with_two_readings(edge: Served, segment: str) -> None:
    """Refused with a 400 problem that says why, before anything is routed or any service asked."""
    edge.service.heads.clear()
    answer = await edge.say(get(f"/things/{segment}"))
    assert edge.service.heads == []
    if not REFUSED[segment]:
        # One reading, but nothing there: no redirect is made of the request's own Host.
        assert statuses(answer) == [404]
        assert b"location:" not in answer
        return
    assert statuses(answer) == [400]
    assert REFUSED[segment].encode() in answer or b"Invalid HTTP" in answer


@pytest.mark.parametrize("segment", PASSED)
async def test_odd_values_stay_one_segment(edge: Served, segment: str) -> None:
    """What came as one segment goes as one: the service decodes it to what the client meant, once."""
    edge.service.heads.clear()
    answer = await edge.say(get(f"/things/{segment}"))
    assert statuses(answer) == [200], answer
    (target,) = edge.service.targets
    _, first, middle, last = target.split("/")
    assert (first, last) == ("things", "end")
    assert unquote(middle) == unquote(segment)
    assert not set(middle) & set("?#;&=+:@ \\\"'<>{}|^`")


QUERIES = [
    "%0d%0aX-Admin:%201",
    "a%26user_id=1",
    "%23",
    "%2e%2e%2f",
    "a%00b",
    "%e2%80%a8",
    "%25%30%61",
    "?a=b",
    "/../admin",
]


@pytest.mark.parametrize("value", QUERIES)
async def test_a_query_value_stays_one_value(edge: Served, value: str) -> None:
    """It is escaped anew, whatever is in it."""
    edge.service.heads.clear()
    answer = await edge.say(get(f"/things/a?q={value}"))
    assert statuses(answer) == [200]
    (target,) = edge.service.targets
    path, _, query = target.partition("?")
    assert path == "/things/a/end"
    name, _, sent = query.partition("=")
    assert (name, unquote(sent)) == ("q", unquote(value))
    assert not set(sent) & set("?#;&=+/\r\n ")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"X-Note: a\tb", 200),
        (b"X-Note: \xe2\x80\xa8", 200),
        (b"X-Note: a\x00b", 400),
        (b"X-Note: a\r b", 400),
        (b"X-Note: a\r\n b", 400),
        (b"X-Note: a\x0bb", 400),
        (b"X-Note\x00: a", 400),
        (b"X-Note: %0d%0aX-Admin: 1", 200),
    ],
)
async def test_a_header_stays_one_header(edge: Served, line: bytes, status: int) -> None:
    """A value goes on as it came; one that would end its line never gets in."""
    answer = await edge.say(get("/things/a", line))
    assert statuses(answer) == [status]
    if status == 200:
        sent = [part for part in edge.service.heads[-1].split(b"\r\n") if part.lower().startswith(b"x-")]
        names = [part.partition(b":")[0].lower() for part in sent]
        assert names.count(b"x-admin") == 0


@pytest.mark.parametrize(
    "header", [b"X-Forwarded-Host: evil.com", b"X-Forwarded-Proto: https", b"Forwarded: host=evil.com;proto=https"]
)
async def test_what_a_client_says_of_itself_is_not_believed(edge: Served, header: bytes) -> None:
    """No header makes the request one that came by https, or for another host."""
    answer = await edge.say(get("/things/a", header))
    assert statuses(answer) == [200]
    assert b"strict-transport-security" not in answer
    assert b"evil" not in answer
    assert b"evil" not in edge.service.heads[-1]


async def test_a_principal_is_one_segment_too(edge: Served) -> None:
    """The name a user has with the issuer is nobody's path."""
    for name, status in ((b"../admin", 200), (b"a/b?c#d", 200), (b"..", 404), (b".", 404)):
        edge.service.heads.clear()
        assert statuses(await edge.say(get("/mine", b"X-Name: " + name))) == [status]
        assert [unquote(target.split("/")[2]).encode() for target in edge.service.targets] == [name] * (status == 200)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_quoted_text_has_one_reading_unless_it_is_no_segment(segments: list[str]) -> None:
    """Every path of quoted segments passes, but for dots, slashes, backslashes, control characters and half
    surrogates, which have no UTF-8."""
    path = "".join("/" + quote(segment, safe="", errors="replace") for segment in segments)
    unusable = any(
        segment in (".", "..")
        or set(segment) & {"/", "\\", "\u2028", "\u2029"}
        or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in segment)
        for segment in segments
    )
    assert (path_fault(path.encode()) is not None) == unusable


@given(st.binary())
def test_whatever_passes_is_normal(raw: bytes) -> None:
    """What passes is ASCII, has no dot or empty segments, decodes as UTF-8, and decodes to as many segments."""
    if path_fault(raw) is None:
        text = unquote(raw.decode("ascii"), errors="strict")
        assert text.count("/") == raw.count(b"/")
        segments = text.split("/")
        assert not {".", ".."} & set(segments)
        assert "" not in segments[1:-1]


@given(
    st.lists(
        st.sampled_from(
            ["a", ".", "..", "%2e", "%2E", "/", "//", ";", "%2f", "%5C", "\\", "%c3", "%a4", "%", "0d", "_"]
        )
    )
)
def test_whatever_passes_is_normal_of_likely_parts(parts: list[str]) -> None:
    """The same, of what attacks are made of."""
    raw = ("/" + "".join(parts)).encode()
    if path_fault(raw) is None:
        text = unquote(raw.decode("ascii"), errors="strict")
        assert text.count("/") == raw.count(b"/")
        assert not {".", ".."} & {segment.partition(";")[0] for segment in text.split("/")}
        assert "//" not in text
