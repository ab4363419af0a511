"""What goes through and what does not: pure decisions."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import DeclarationError, Problem
from bff_core.forwarded import TrustedProxies
from bff_core.proxy.headers import RequestHeaders, ResponseHeaders, forwarded
from bff_core.proxy.target import TargetTemplate

NOBODY = TrustedProxies()


def scope(path: str = "", raw: bytes = b"", query: bytes = b"", **more: Any) -> dict[str, Any]:
    return {
        "path_params": {"path": path}, "raw_path": raw, "query_string": query, "headers": [], "method": "GET",
        "client": ("10.0.0.1", 5), "scheme": "https", "http_version": "1.1", **more,
    }  # fmt: skip


def template(**options: Any) -> TargetTemplate:
    return TargetTemplate("/media/{path:path}", "/m/{path}", **options)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("a/b.jpg", "/m/a/b.jpg"),
        ("", "/m/"),
        ("dir/", "/m/dir/"),
        ("...", "/m/..."),
        ("a b/ä", "/m/a%20b/%C3%A4"),
        ("a;b=c/x", "/m/a%3Bb%3Dc/x"),  # path parameters, which some servers cut off: '..;'
        ("..;/x", "/m/..%3B/x"),
        ("http:x", "/m/http%3Ax"),
        ("100%", "/m/100%25"),
        ("q?x#y", "/m/q%3Fx%23y"),
    ],
)
def test_paths(path: str, target: str) -> None:
    """Escaped segment by segment."""
    assert template().render(scope(path)) == target


@pytest.mark.parametrize(
    "path",
    ["..", "../x", "a/../x", "a/..", ".", "./x", "a//b", "/x", "//evil.com", "a\\..\\x", "a\r\nb", "a\x00", "a\x7fb",
     "\ufffd", "%2e%2e/x", "%2E/x", "%2fx", "%5cx", "%252e", "http://evil.com/"],
)  # fmt: skip
def test_paths_that_are_tricks(path: str) -> None:
    """Refused, not repaired."""
    with pytest.raises(Problem) as refused:
        template().render(scope(path))
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", [b"/media/a%2fb", b"/media/a%2Fb", b"/media/a%5Cb", b"/media/%00"])
def test_encoded_delimiters_are_refused(raw: bytes) -> None:
    """The decoded path does not show them any more."""
    with pytest.raises(Problem, match="cannot be passed on"):
        template().render(scope("ab", raw))


@given(st.text(max_size=40))
def test_any_path_is_refused_or_means_the_same(path: str) -> None:
    """One segment more or less, a dot segment, a byte out of place: never."""
    try:
        target = template().render(scope(path))
    except Problem:
        return
    assert target.isascii()
    assert target.isprintable()
    segments = target.removeprefix("/m/").split("/")
    assert [unquote(segment) for segment in segments] == path.split("/")
    assert not {"", ".", ".."} & set(segments[:-1])
    assert segments[-1] not in {".", ".."}
    assert not set(" ?#;\\") & set(target)


@pytest.mark.parametrize(
    ("query", "passed", "target"),
    [
        ((), b"a=1", "/m/x"),
        (True, b"a=1&b=%20;c", "/m/x?a=1&b=%20;c"),
        (["w", "h"], b"w=1&x=2&h=3&w=4", "/m/x?w=1&h=3&w=4"),
        (["w"], b"%77=1&W=2", "/m/x?%77=1"),
        (["w"], b"w=1;admin=1", "/m/x?w=1%3Badmin=1"),
        (["w"], b"x=1", "/m/x"),
        (["w"], b"w", "/m/x?w"),
    ],
)
def test_queries(query: Any, passed: bytes, target: str) -> None:
    """Only what is declared, as it came."""
    assert template(query=query).render(scope("x", query=passed)) == target


@pytest.mark.parametrize("query", [b"a=\r\n", b"a=b c", b"a=\xff", b"a#b", b'a="'])
def test_queries_that_cannot_be_sent(query: bytes) -> None:
    """Refused."""
    with pytest.raises(Problem, match="percent-encoded"):
        template(query=True).render(scope("x", query=query))


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("m/{path}", {}, "is not a path"),
        ("http://x/{path}", {}, "is not a path"),
        ("/m?x={path}", {}, "is not a path"),
        ("/m/{path:path}", {}, "is not a path"),
        ("/m /{path}", {}, "is not a path"),
        ("/m/{id}", {}, "has no parameter 'id'"),
        ("/m/{path}", {"query": "w"}, "is a list of names"),
    ],
)
def test_targets_that_make_no_sense(to: str, options: dict[str, Any], message: str) -> None:
    """Refused when they are declared."""
    with pytest.raises(DeclarationError, match=message):
        TargetTemplate("/media/{path:path}", to, **options)


def lines(block: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b": ", 1) for line in block.split(b"\r\n") if line)


def test_request_headers() -> None:
    """Content and conditions go through; credentials, hops' own and the client's copies of ours do not."""
    given_ = [
        (b"host", b"shop.example:8443"), (b"accept", b"image/*"), (b"range", b"bytes=0-1"), (b"if-range", b'"x"'),
        (b"cookie", b"s=1"), (b"authorization", b"Bearer x"), (b"x-forwarded-for", b"6.6.6.6"),
        (b"forwarded", b"for=6.6.6.6"), (b"x-forwarded-host", b"evil"), (b"x-real-ip", b"6.6.6.6"),
        (b"connection", b"keep-alive, If-Range"), (b"te", b"trailers"), (b"upgrade", b"websocket"),
        (b"x-request-id", b"theirs"), (b"proxy-authorization", b"x"), (b"expect", b"100-continue"),
    ]  # fmt: skip
    block, length = RequestHeaders("/x", ()).read(scope(headers=given_), b"x-request-id: ours\r\n", NOBODY)
    assert length == 0
    assert lines(block) == {
        b"x-request-id": b"ours",
        b"accept": b"image/*",
        b"range": b"bytes=0-1",
        b"forwarded": b'for=10.0.0.1;proto=https;host="shop.example:8443"',
        b"x-forwarded-for": b"10.0.0.1",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"shop.example:8443",
    }
    relayed, _ = RequestHeaders("/x", ["Cookie", "authorization"]).read(scope(headers=given_), b"", NOBODY)
    assert lines(relayed)[b"cookie"] == b"s=1"
    assert lines(relayed)[b"authorization"] == b"Bearer x"


def test_forwarded() -> None:
    """RFC 7239: an IPv6 address is quoted; a host that could break out is left away."""
    assert b'for="[::1]";proto=http;' in forwarded(("::1",), b"x", "http")
    assert b"for=unknown" in forwarded((), b"x", "http")
    assert b"evil" not in forwarded(("1.1.1.1",), b'x";for=evil', "http")


@pytest.mark.parametrize(
    ("peer", "came", "chain", "standard"),
    [
        ("10.0.0.1", [], "10.0.0.1", "for=10.0.0.1"),
        # from a trusted proxy it is kept, from the client on, and the proxy appended, in both forms
        ("10.0.0.1", [("x-forwarded-for", "9.9.9.9")], "9.9.9.9, 10.0.0.1", "for=9.9.9.9, for=10.0.0.1"),
        (
            "10.0.0.1",
            [("forwarded", 'for="[2001:db8::9]:80";by=x')],
            "2001:db8::9, 10.0.0.1",
            'for="[2001:db8::9]", for=10.0.0.1',
        ),
        (
            "10.0.0.1",
            [("x-forwarded-for", "6.6.6.6, 9.9.9.9, 10.0.0.2")],
            "9.9.9.9, 10.0.0.2, 10.0.0.1",
            "for=9.9.9.9, for=10.0.0.2, for=10.0.0.1",
        ),
        # one of the two is the client's own work
        ("10.0.0.1", [("x-forwarded-for", "9.9.9.9"), ("forwarded", "for=6.6.6.6")], "10.0.0.1", "for=10.0.0.1"),
        # anybody else's is replaced
        ("9.9.9.9", [("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")], "9.9.9.9", "for=9.9.9.9"),
        ("/run/socket", [("x-forwarded-for", "6.6.6.6")], "unknown", "for=unknown"),
        ("1.1.1.1;host=x", [], "unknown", "for=unknown"),
    ],
)  # fmt: skip
def test_whom_trusted_proxies_name(peer: str, came: list[tuple[str, str]], chain: str, standard: str) -> None:
    """The service is told the client whom everything else here takes for it."""
    headers = [(name.encode(), value.encode()) for name, value in came]
    proxies = TrustedProxies(["10.0.0.0/8"])
    block, _ = RequestHeaders("/x", ()).read(scope(headers=headers, client=(peer, 5)), b"", proxies)
    assert lines(block)[b"x-forwarded-for"].decode() == chain
    assert lines(block)[b"forwarded"].decode() == f"{standard};proto=https"


@pytest.mark.parametrize(
    ("headers", "more", "length"),
    [
        ([], {}, 0),
        ([(b"content-length", b"5")], {}, 5),
        ([(b"transfer-encoding", b"chunked")], {}, None),
        ([(b"transfer-encoding", b"chunked"), (b"content-length", b"5")], {}, None),
        ([], {"http_version": "2", "method": "POST"}, None),
        ([], {"http_version": "2"}, 0),
        ([(b"content-length", b"5"), (b"content-length", b"5")], {}, 5),
    ],
)
def test_lengths(headers: list[tuple[bytes, bytes]], more: dict[str, Any], length: int | None) -> None:
    """As RFC 9112 section 6.3 reads them."""
    assert RequestHeaders("/x", ()).read(scope(headers=headers, **more), b"", NOBODY)[1] == length


@pytest.mark.parametrize("lengths", [[b"5", b"6"], [b"-5"], [b"5, 5"], [b"+5"], [b"x"], [b"9" * 20]])
def test_lengths_that_are_none(lengths: list[bytes]) -> None:
    """Refused."""
    with pytest.raises(Problem, match="length"):
        RequestHeaders("/x", ()).read(scope(headers=[(b"content-length", value) for value in lengths]), b"", NOBODY)


def test_response_headers() -> None:
    """The same the other way."""
    given_ = [
        (b"content-type", b"image/png"), (b"etag", b'"1"'), (b"set-cookie", b"a=1"), (b"server", b"secret/1.0"),
        (b"connection", b"close, ETag"), (b"keep-alive", b"x"), (b"content-length", b"3"), (b"x-internal", b"1"),
        (b"trailer", b"x"), (b"set-cookie", b"b=2"), (b"date", b"now"), (b"content-encoding", b"br"),
    ]  # fmt: skip
    headers = ResponseHeaders("/x", (), private=False)
    assert headers.pick(200, given_) == [
        (b"content-type", b"image/png"),
        (b"content-encoding", b"br"),
        (b"content-length", b"3"),
    ]
    assert (b"content-length", b"3") not in headers.pick(304, given_)
    relayed = ResponseHeaders("/x", ["Set-Cookie"], private=False).pick(200, given_)
    assert [value for name, value in relayed if name == b"set-cookie"] == [b"a=1", b"b=2"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ([], b"private, no-cache"),
        ([b"public, max-age=60, s-maxage=600"], b"private, max-age=60"),
        ([b"no-store"], b"private, no-store"),
        ([b"Public", b"immutable,max-age=5, proxy-revalidate"], b"private, immutable, max-age=5"),
    ],
)
def test_private_answers_are_not_for_shared_caches(said: list[bytes], kept: bytes) -> None:
    """The service does not know that the route is private."""
    picked = ResponseHeaders("/x", (), private=True).pick(200, [(b"cache-control", value) for value in said])
    assert picked == [(b"cache-control", kept)]


def test_private_answers_vary_by_credentials() -> None:
    """Who signs in next on the same device does not see what the one before was sent."""
    headers = ResponseHeaders("/x", (), private=True, vary={"cookie", "authorization"})
    said = [(b"cache-control", b"max-age=60"), (b"vary", b"Accept")]
    assert headers.pick(200, said) == [
        (b"vary", b"Accept"),
        (b"cache-control", b"private, max-age=60"),
        (b"vary", b"authorization, cookie"),
    ]


@pytest.mark.parametrize("names", [["Connection"], ["x-forwarded-for"], ["content-length"], ["a b"], "cookie", [""]])
def test_header_names_that_cannot_be_declared(names: Any) -> None:
    """They are a hop's own, the gateway's, or no names."""
    with pytest.raises(DeclarationError, match="the proxy at '/x'"):
        RequestHeaders("/x", names)
