"""Stored responses to test with, and a server to keep them in."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st

from bff_core.cache import Stored, store

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
ETAG = (b"etag", b'"v1"')
MODIFIED = (b"last-modified", b"Mon, 13 Nov 2023 08:00:00 GMT")


def control(value: str) -> tuple[bytes, bytes]:
    return b"cache-control", value.encode("latin-1")


def stored(**changes: Any) -> Stored:
    fields: dict[str, Any] = {
        "status": 200,
        "headers": ((b"cache-control", b"max-age=60"), ETAG),
        "body": b"{}",
        "vary": (),
        "stored_at": NOW,
        "initial_age": 0.0,
        "lifetime": 60.0,
        "swr": 0.0,
        "sie": 0.0,
        "no_cache": False,
        "must_revalidate": False,
        "etag": b'"v1"',
        "last_modified": None,
    }
    return Stored(**(fields | changes))


def kept(*headers: tuple[bytes, bytes], **options: Any) -> Stored | None:
    """What is stored of a response with these headers, by default in a cache of one user."""
    given: dict[str, Any] = {
        "request_headers": [],
        "status": 200,
        "body": b"{}",
        "now": NOW,
        "requested_at": NOW,
        "shared": False,
        "authenticated": False,
    }
    return store(response_headers=list(headers), **(given | options))


def must_keep(*headers: tuple[bytes, bytes], **options: Any) -> Stored:
    found = kept(*headers, **options)
    assert found is not None
    return found


spans = st.floats(0, 1e6, allow_nan=False) | st.integers(0, 100).map(float)
line = st.binary(max_size=20).filter(lambda value: not set(value) & {0, 10, 13})
anything = st.builds(
    Stored,
    status=st.integers(100, 599),
    headers=st.lists(st.tuples(line, line), max_size=5).map(tuple),
    body=st.binary(max_size=200),
    vary=st.lists(st.tuples(st.binary(max_size=20), st.none() | st.binary(max_size=20)), max_size=3).map(tuple),
    stored_at=st.floats(-1e12, 1e12, allow_nan=False),
    initial_age=spans,
    lifetime=spans,
    swr=spans,
    sie=spans | st.just(math.ldexp(1, 31)),
    no_cache=st.booleans(),
    must_revalidate=st.booleans(),
    etag=st.none() | st.binary(max_size=20),
    last_modified=st.none() | st.binary(max_size=20),
)
