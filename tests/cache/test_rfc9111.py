"""What may be kept, for how long, and when it may be served: on a clock that only the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core.cache import (
    Decision,
    Stored,
    conditional_headers,
    decide,
    matches,
    parse_cache_control,
    refreshed,
    remaining,
    usable_on_error,
)
from tests.cache.responses import ETAG, MODIFIED, NOW, anything, control, kept, must_keep, spans, stored

FRESH, SWR, REVALIDATE = Decision.FRESH, Decision.STALE_WHILE_REVALIDATE, Decision.REVALIDATE
DATE = (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT")
MINUTE = control("max-age=60")
AUTHORIZED = [(b"authorization", b"Bearer t")]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", {}),
        (b" , ,, ", {}),
        (b"no-store", {"no-store": None}),
        (b"Max-Age=5, PUBLIC", {"max-age": "5", "public": None}),
        (b'max-age="5"', {"max-age": "5"}),
        (b"max-age = 5 ,public", {"max-age": "5", "public": None}),
        (b"max-age=5, max-age=9", {"max-age": "5"}),
        (b'private="set-cookie, x", no-cache', {"private": "set-cookie, x", "no-cache": None}),
        (rb'ext="a\"b, no-store", public', {"ext": 'a"b, no-store', "public": None}),
        (b'ext="never closed, no-store', {"ext": '"never closed', "no-store": None}),
        (b"=5, @@, max-age=1, \xff\xfe", {"max-age": "1"}),
        (b'"quoted, public", max-age=1', {"max-age": "1"}),
        (b"max-age=", {"max-age": ""}),
        (b"max-age", {"max-age": None}),
        (b"max-age=1 2", {"max-age": "1 2"}),
        (b"max-age=99999999999", {"max-age": "2147483648"}),
        (b"max-age=" + b"9" * 9000, {"max-age": "2147483648"}),
        (b"max-age=00000000000000000007", {"max-age": "00000000000000000007"}),
        (b"build=99999999999", {"build": "99999999999"}),
    ],
)
def test_cache_control(value: bytes, expected: dict[str, str | None]) -> None:
    """Directives are read whatever stands between them."""
    assert parse_cache_control(value) == expected


@given(st.binary() | st.text('"\\,= max-age0123no-store').map(str.encode))
def test_cache_control_takes_anything(value: bytes) -> None:
    """No bytes make the parser fail, and every name is a lower-case token."""
    assert all(name and name == name.lower() for name in parse_cache_control(value))


@given(st.text('"\\,= abc').map(str.encode))
def test_no_store_is_seen_before_whatever_follows(rest: bytes) -> None:
    """A prohibition cannot be hidden by what a field says after it."""
    assert "no-store" in parse_cache_control(b"no-store, " + rest)


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        pytest.param([control("no-store, max-age=60")], {}, id="no-store"),
        pytest.param([control("max-age=60"), control("No-Store")], {}, id="no-store in a second field"),
        pytest.param([control("no-store, must-understand, max-age=60")], {}, id="must-understand changes nothing"),
        pytest.param([MINUTE], {"request_headers": [control("no-store")]}, id="no-store in the request"),
        pytest.param([control("private, max-age=60")], {"shared": True}, id="private"),
        pytest.param([control('private="x", max-age=60')], {"shared": True}, id="private with fields"),
        pytest.param([MINUTE], {"shared": True, "authenticated": True}, id="of a user"),
        pytest.param([MINUTE], {"shared": True, "request_headers": AUTHORIZED}, id="authorized"),
        pytest.param([MINUTE, (b"vary", b"*")], {}, id="vary *"),
        pytest.param([MINUTE, (b"vary", b"accept"), (b"vary", b"x, *")], {}, id="vary * in a list"),
        pytest.param([MINUTE, (b"vary", b"a b")], {}, id="vary on no field name"),
        pytest.param([MINUTE, (b"set-cookie", b"a=b")], {}, id="set-cookie"),
        pytest.param([control("public, max-age=60"), (b"set-cookie", b"a=b")], {"shared": True}, id="public cookie"),
        pytest.param([], {}, id="neither freshness nor validator"),
        pytest.param([control("public")], {}, id="public is no freshness"),
        pytest.param([control("s-maxage=60")], {}, id="s-maxage in a cache of one user"),
        pytest.param([control("max-age=0")], {}, id="never fresh, no validator"),
        pytest.param([control("no-cache, max-age=60")], {}, id="no-cache, no validator"),
        pytest.param([MINUTE, (b"age", b"60")], {}, id="stale on arrival, no validator"),
        pytest.param([control("max-age=soon")], {}, id="freshness that is no number"),
        pytest.param([(b"etag", b"unquoted")], {}, id="validator that is none"),
        pytest.param(
            [control("public, max-age=60"), (b"vary", b"authorization")],
            {"shared": True, "request_headers": AUTHORIZED},
            id="a credential would be kept",
        ),
        *(
            pytest.param([MINUTE, ETAG], {"status": status}, id=f"status {status}")
            for status in (100, 201, 202, 206, 301 + 1, 303, 304, 307, 308, 400, 401, 403, 405, 414, 500, 501, 503)
        ),
    ],
)
def test_not_storable(headers: list[tuple[bytes, bytes]], options: dict[str, Any]) -> None:
    """What section 3, or caution, forbids to keep is not kept."""
    assert kept(*headers, **options) is None


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        *(pytest.param([MINUTE], {"status": status}, id=str(status)) for status in (200, 203, 204, 300, 301, 404, 410)),
        pytest.param([ETAG], {}, id="an entity tag alone"),
        pytest.param([MODIFIED], {}, id="a date alone"),
        pytest.param([control("no-cache"), ETAG], {}, id="no-cache with a validator"),
        pytest.param([control("private, max-age=60")], {}, id="private in a cache of one user"),
        pytest.param([MINUTE], {"authenticated": True, "request_headers": AUTHORIZED}, id="identity, one user"),
        pytest.param([MINUTE], {"shared": True}, id="shared"),
        pytest.param([control("max-age=0, stale-if-error=9")], {}, id="only for errors"),
        pytest.param([control("max-age=0, stale-while-revalidate=9")], {}, id="only while revalidating"),
        *(
            pytest.param([control(f"max-age=60, {word}")], {"shared": True, "authenticated": True}, id=f"user {word}")
            for word in ("public", "s-maxage=9", "must-revalidate")
        ),
        pytest.param([control("public, max-age=60"), (b"vary", b"cookie")], {"shared": True}, id="no cookie came"),
    ],
)
def test_storable(headers: list[tuple[bytes, bytes]], options: dict[str, Any]) -> None:
    """What section 3 allows is kept."""
    assert kept(*headers, **options) is not None


@pytest.mark.parametrize(
    ("headers", "shared", "lifetime"),
    [
        ([MINUTE], False, 60),
        ([control("max-age=60, s-maxage=5")], True, 5),
        ([control("max-age=60, s-maxage=5")], False, 60),
        ([control("max-age=60"), (b"expires", b"Tue, 14 Nov 2023 23:13:20 GMT"), DATE], False, 60),
        ([(b"expires", b"Tue, 14 Nov 2023 23:13:20 GMT"), DATE], False, 3600),
        ([(b"expires", b"Tue, 14 Nov 2023 23:13:20 GMT")], False, 3600),
        ([(b"expires", b"tue, 14 nov 2023 23:13:20 gmt")], False, 3600),
        ([(b"expires", b"Tuesday, 14-Nov-23 23:13:20 GMT")], False, 3600),
        ([(b"expires", b"Tue Nov 14 23:13:20 2023")], False, 3600),
        ([(b"expires", b"Tue, 14 Nov 2023 22:13:60 GMT")], False, 40),
        ([(b"expires", b"Tue, 14 Nov 2023 23:13:20 GMT"), (b"date", b"Tue, 14 Nov 2023 23:03:20 GMT")], False, 600),
        ([(b"expires", b"Tue, 14 Nov 2023 23:13:20 EST")], False, 0),
        ([(b"expires", b"Tue, 31 Feb 2023 23:13:20 GMT")], False, 0),
        ([(b"expires", b"Wednesday, 14-Nov-99 23:13:20 GMT")], False, 0),
        ([(b"expires", b"0")], False, 0),
        ([(b"expires", b"Fri, 31 Dec 9999 23:59:59 GMT")], False, 2**31),
        ([control("max-age=-1")], False, 0),
        ([control("max-age=1.5")], False, 0),
        ([control("max-age"), (b"expires", b"Tue, 14 Nov 2023 23:13:20 GMT")], False, 0),
        ([control("max-age=5, max-age=9")], False, 5),
        ([control("max-age=5"), control("max-age=9")], False, 5),
        ([], False, 0),
    ],
)
def test_lifetime(headers: list[tuple[bytes, bytes]], shared: bool, lifetime: float) -> None:
    """s-maxage in a shared cache, then max-age, then Expires less Date; nonsense is stale (section 4.2.1)."""
    assert must_keep(ETAG, *headers, shared=shared).lifetime == lifetime


@pytest.mark.parametrize(
    ("headers", "requested_at", "age"),
    [
        ([], NOW, 0),
        ([(b"age", b"7")], NOW, 7),
        ([(b"age", b"7")], NOW - 2, 9),
        ([(b"age", b"7, 30")], NOW, 7),
        ([(b"age", b"-7")], NOW, 0),
        ([(b"age", b"old")], NOW, 0),
        ([(b"age", b"9" * 5000)], NOW, 2**31),
        ([(b"date", b"Tue, 14 Nov 2023 22:13:00 GMT")], NOW, 20),
        ([(b"date", b"Tue, 14 Nov 2023 22:13:00 GMT"), (b"age", b"7")], NOW - 2, 20),
        ([(b"date", b"Tue, 14 Nov 2023 22:15:00 GMT")], NOW, 0),
        ([(b"date", b"yesterday")], NOW, 0),
        ([], NOW + 5, 0),
    ],
)
def test_initial_age(headers: list[tuple[bytes, bytes]], requested_at: float, age: float) -> None:
    """What a response has aged on its way counts, by Age or by Date, whichever is more (section 4.2.3)."""
    assert must_keep(MINUTE, ETAG, *headers, requested_at=requested_at).initial_age == age


@pytest.mark.parametrize(
    ("entry", "after", "decision", "on_error"),
    [
        (stored(), 0, FRESH, True),
        (stored(), 59.9, FRESH, True),
        (stored(), 60, REVALIDATE, False),
        (stored(), -5, FRESH, True),
        (stored(), -3600, REVALIDATE, False),
        (stored(initial_age=50.0), 9.9, FRESH, True),
        (stored(initial_age=50.0), 10, REVALIDATE, False),
        (stored(swr=30.0), 60, SWR, True),
        (stored(swr=30.0), 90, REVALIDATE, False),
        (stored(sie=30.0), 60, REVALIDATE, True),
        (stored(sie=30.0), 90, REVALIDATE, False),
        (stored(swr=10.0, sie=30.0), 75, REVALIDATE, True),
        (stored(swr=30.0, sie=30.0, must_revalidate=True), 59, FRESH, False),
        (stored(swr=30.0, sie=30.0, must_revalidate=True), 60, REVALIDATE, False),
        (stored(swr=30.0, sie=30.0, no_cache=True), 0, REVALIDATE, False),
    ],
)
def test_decide(entry: Stored, after: float, decision: Decision, on_error: bool) -> None:
    """Fresh until the lifetime ends, then the windows of RFC 5861, none of them past a prohibition."""
    assert decide(entry, NOW + after) is decision
    assert usable_on_error(entry, NOW + after) is on_error


@pytest.mark.parametrize(
    ("value", "shared", "no_cache", "must_revalidate"),
    [
        ("max-age=1", True, False, False),
        ("max-age=1, no-cache", True, True, False),
        ('max-age=1, no-cache="x"', True, True, False),
        ("max-age=1, must-revalidate", False, False, True),
        ("max-age=1, proxy-revalidate", False, False, True),
        ("s-maxage=1", True, False, True),
        ("max-age=1, s-maxage=1", False, False, False),
    ],
)
def test_prohibitions(value: str, shared: bool, no_cache: bool, must_revalidate: bool) -> None:
    """Directives that forbid to serve stale are kept; an applicable s-maxage is one (section 5.2.2.10)."""
    entry = must_keep(control(value + ", stale-while-revalidate=5, stale-if-error=7"), ETAG, shared=shared)
    assert (entry.no_cache, entry.must_revalidate, entry.swr, entry.sie) == (no_cache, must_revalidate, 5, 7)


@given(anything, spans, spans)
def test_decide_is_monotone(entry: Stored, after: float, more: float) -> None:
    """With time a stored response only ever becomes less usable."""
    order = list(Decision)
    early, late = entry.stored_at + after, entry.stored_at + after + more
    assert order.index(decide(entry, early)) <= order.index(decide(entry, late))
    assert usable_on_error(entry, early) >= usable_on_error(entry, late)


@pytest.mark.parametrize(("back", "decision"), [(1, FRESH), (5, FRESH), (6, REVALIDATE), (3600, REVALIDATE)])
def test_a_clock_that_was_set_back(back: float, decision: Decision) -> None:
    """What is from the future is of no known age; replicas' clocks may differ a little."""
    entry = must_keep(MINUTE, ETAG, control("stale-if-error=60"))
    now = entry.stored_at - back
    assert decide(entry, now) is decision
    assert remaining(entry, now) == (60 if decision is FRESH else 0)
    assert usable_on_error(entry, now) is (decision is FRESH)


@given(anything, spans)
def test_prohibited_is_never_stale(entry: Stored, after: float) -> None:
    """With no-cache or must-revalidate nothing stale is served, whatever the windows say."""
    if entry.no_cache or entry.must_revalidate:
        assert decide(entry, entry.stored_at + after) is not SWR
        assert not usable_on_error(entry, entry.stored_at + after)


def test_connection_fields_are_not_kept() -> None:
    """Fields of one connection, and those that Connection names, are not part of what is kept (section 3.1)."""
    entry = must_keep(
        MINUTE,
        (b"connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"timeout=5"),
        (b"x-kept", b"1"),
    )
    assert entry.headers == (MINUTE, (b"x-kept", b"1"))


def test_vary() -> None:
    """A request matches if it has the same values, or equally none, in the fields that Vary names (section 4.1)."""
    request = [(b"accept-language", b"de"), (b"accept", b"a"), (b"accept", b" b ")]
    vary = [(b"vary", b"Accept-Language, accept"), (b"vary", b"x-tier,accept")]
    entry = must_keep(MINUTE, *vary, request_headers=request)
    assert entry.vary == ((b"accept", b"a, b"), (b"accept-language", b"de"), (b"x-tier", None))
    assert matches(entry, request)
    assert matches(entry, [(b"accept", b"a, b"), (b"accept-language", b"de"), (b"other", b"1")])
    assert not matches(entry, [(b"accept-language", b"en"), (b"accept", b"a, b")])
    assert not matches(entry, [(b"accept-language", b"de")])
    assert not matches(entry, [*request, (b"x-tier", b"")])
    assert matches(stored(), [])


@pytest.mark.parametrize(
    ("etag", "last_modified", "expected"),
    [
        (b'"v1"', None, b'if-none-match: "v1"\r\n'),
        (b'W/"v1"', None, b'if-none-match: W/"v1"\r\n'),
        (b'""', None, b'if-none-match: ""\r\n'),
        (None, MODIFIED[1], b"if-modified-since: Mon, 13 Nov 2023 08:00:00 GMT\r\n"),
        (b'"v1"', MODIFIED[1], b'if-none-match: "v1"\r\nif-modified-since: Mon, 13 Nov 2023 08:00:00 GMT\r\n'),
        (None, None, b""),
        (b'"v1"\r\nx: y', None, b""),
        (b'"v1\r\nx: y"', None, b""),
        (b'"v1"\n', None, b""),
        (b"v1", None, b""),
        (None, MODIFIED[1] + b"\r\nx: y", b""),
        (None, MODIFIED[1] + b"\n", b""),
    ],
)
def test_conditional_headers(etag: bytes | None, last_modified: bytes | None, expected: bytes) -> None:
    """Validators go out as they came; what is none, or holds a line of its own, does not."""
    assert conditional_headers(stored(etag=etag, last_modified=last_modified)) == expected


@given(anything)
def test_conditional_headers_are_lines(entry: Stored) -> None:
    """No stored validator makes more lines than the two."""
    block = conditional_headers(entry)
    assert block.count(b"\r") == block.count(b"\n") == block.count(b"\r\n") <= 2
    assert not block or block.endswith(b"\r\n")


def after_304(entry: Stored, *headers: tuple[bytes, bytes], **options: Any) -> Stored | None:
    given_: dict[str, Any] = {
        "request_headers": [],
        "now": NOW + 100,
        "requested_at": NOW + 100,
        "shared": False,
        "authenticated": False,
    }
    return refreshed(entry, response_headers=list(headers), **(given_ | options))


def test_refreshed() -> None:
    """A 304 makes the response fresh again, with its fields in place of the old ones (section 4.3.4)."""
    entry = must_keep(MINUTE, ETAG, (b"age", b"9"), DATE, (b"content-length", b"2"), (b"x", b"1"), (b"y", b"1"))
    new = after_304(
        entry,
        control("max-age=5"),
        ETAG,
        (b"x", b"2"),
        (b"x", b"3"),
        (b"content-length", b"0"),
        (b"content-encoding", b"br"),
        (b"connection", b"close"),
        (b"set-cookie", b"a=b"),
    )
    assert new is not None
    assert new.headers == (
        (b"content-length", b"2"),
        (b"y", b"1"),
        control("max-age=5"),
        ETAG,
        (b"x", b"2"),
        (b"x", b"3"),
    )
    assert (new.status, new.body, new.stored_at, new.initial_age, new.lifetime) == (200, b"{}", NOW + 100, 0, 5)


def test_refreshed_without_news() -> None:
    """A bare 304 starts the old lifetime anew; the age is not that of the old response."""
    entry = must_keep(MINUTE, ETAG, (b"age", b"30"), DATE)
    new = after_304(entry)
    assert new is not None
    assert decide(entry, NOW + 100) is REVALIDATE
    assert (decide(new, NOW + 159), decide(new, NOW + 160)) == (FRESH, REVALIDATE)


@pytest.mark.parametrize(
    ("headers", "options"),
    [
        pytest.param([(b"etag", b'"v2"')], {}, id="of another version"),
        pytest.param([(b"etag", b"v1")], {}, id="with a broken tag"),
        pytest.param([(b"last-modified", b"Tue, 14 Nov 2023 08:00:00 GMT")], {}, id="of another date"),
        pytest.param([control("no-store")], {}, id="no longer to be kept"),
        pytest.param([control("private, max-age=9")], {"shared": True}, id="now of a user"),
        pytest.param([control("max-age=9")], {"shared": True, "authenticated": True}, id="no longer public"),
        pytest.param([(b"vary", b"*")], {}, id="now varying on anything"),
    ],
)
def test_a_304_that_does_not_keep(headers: list[tuple[bytes, bytes]], options: dict[str, Any]) -> None:
    """A 304 about another response, or that forbids to keep this one, leaves nothing."""
    assert after_304(must_keep(control("public, max-age=60"), ETAG, MODIFIED), *headers, **options) is None


def test_a_304_compares_tags_weakly() -> None:
    """A proxy that weakened the tag of the 200 and not that of the 304 does not cost a transfer."""
    assert after_304(must_keep(MINUTE, (b"etag", b'W/"v1"')), ETAG) is not None


def test_size_counts_everything() -> None:
    """No part of an entry is free."""
    small = stored(etag=None)
    for more in (
        stored(),
        stored(etag=None, body=b"{}" * 9),
        stored(etag=None, last_modified=MODIFIED[1]),
        stored(etag=None, vary=((b"a", None),)),
        stored(etag=None, headers=(*small.headers, (b"", b""))),
    ):
        assert more.size > small.size
