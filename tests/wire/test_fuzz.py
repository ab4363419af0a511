"""Any bytes in any pieces: no crash, no hang, no wrong body."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_core.errors import ServiceError
from bff_core.wire import WireResponse
from bff_core.wire.answer import Limits
from bff_core.wire.connection import Connection
from bff_core.wire.exchange import Buffered

END = (WireResponse | None, ServiceError | None)


class Transport:
    """A transport of which nothing happens but what the test does."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


class Timer:
    def cancel(self) -> None: ...


class Loop:
    def call_later(self, *_: object) -> Timer:
        return Timer()


class Pool:
    """Stands in for the pool: ``idle`` says whether the connection came back for reuse."""

    def __init__(self) -> None:
        self.limits = Limits(10_000, 4096, 20)
        self.in_flight = 0
        self.idle = False

    def made(self, _: Connection) -> None: ...
    def gone(self, _: Connection) -> None: ...
    def dropped(self, _: Connection) -> None: ...
    def forget(self, _: object) -> None: ...
    def released(self, _: Connection) -> None:
        self.idle = True


def run(data: bytes, cuts: list[int], head_only: bool = False) -> tuple[tuple[int, bytes] | str, bool]:
    """Feed ``data`` cut at ``cuts``, then EOF; how the exchange ended, and whether the connection was to be reused."""
    pool = Pool()
    connection = Connection(pool, Loop())  # type: ignore[arg-type]
    connection.connection_made(Transport())  # type: ignore[arg-type]
    ends: list[tuple[WireResponse | None, ServiceError | None]] = []
    exchange = Buffered(pool, b"", False, head_only, lambda r, e: ends.append((r, e)))  # type: ignore[arg-type]
    connection.start(exchange, 1e12)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        if not connection.closed:
            connection.data_received(data[start:end])
    reusable = pool.idle and not connection.closed
    if not connection.closed:
        connection.eof_received()
    connection.connection_lost(None)
    assert len(ends) == 1
    response, error = ends[0]
    if response is None:
        return type(error).__name__, reusable
    assert len(response.body) <= 10_000
    return (response.status, response.body), reusable


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """A sound answer, its body, and whether the connection may be reused after it."""
    body = draw(st.binary(max_size=300))
    headers = draw(
        st.lists(
            st.tuples(st.from_regex(rb"x-[a-z]{0,9}", fullmatch=True), st.from_regex(rb"[!-~]{0,20}", fullmatch=True)),
            max_size=5,
        )
    )
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    sent = body
    if body and draw(st.booleans()):
        sent = gzip.compress(body)
        lines += b"content-encoding: gzip\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * draw(st.integers(0, 3))
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        return early + b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(sent), sent), body, True
    if framing == "close":
        return early + b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (lines, sent), body, False
    chunks, rest = b"", sent
    while rest:
        size = draw(st.integers(1, len(rest)))
        chunks += b"%X\r\n%b\r\n" % (size, rest[:size])
        rest = rest[size:]
    trailers = draw(st.sampled_from([b"", b"x-sum: 1\r\n"]))
    return (
        early + b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n%b\r\n" % (lines, chunks, trailers),
        body,
        True,
    )


CUTS = st.lists(st.integers(0, 2000), max_size=30)


@settings(max_examples=400, deadline=None)
@given(responses(), CUTS)
def test_however_a_sound_answer_is_cut_it_is_the_same(answer: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    data, body, reusable = answer
    assert run(data, cuts) == ((200, body), reusable)
    assert run(data, list(range(len(data)))) == ((200, body), reusable)


@settings(max_examples=300, deadline=None)
@given(responses(), CUTS, st.integers(1, 10_000))
def test_cut_short_it_is_never_taken_for_whole(answer: tuple[bytes, bytes, bool], cuts: list[int], short: int) -> None:
    data, body, reusable = answer
    part = data[: len(data) - 1 - short % len(data)]
    outcome, reuse = run(part, cuts)
    assert not reuse
    if reusable:
        assert outcome == "ConnectionLost"
    elif isinstance(outcome, tuple):
        assert body.startswith(outcome[1])  # only the connection's end can say where such a body ends


@settings(max_examples=300, deadline=None)
@given(responses(), st.binary(min_size=1, max_size=60), CUTS)
def test_what_follows_is_never_mixed_in_nor_the_connection_reused(
    answer: tuple[bytes, bytes, bool], extra: bytes, cuts: list[int]
) -> None:
    data, body, reusable = answer
    if reusable and extra.strip(b"\r\n"):
        # Bytes that come after the answer was told reach an idle connection, which then closes.
        outcome, reuse = run(data + extra, cuts)
        assert outcome == (200, body)
        assert not reuse


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=400), CUTS, st.booleans())
def test_any_bytes(data: bytes, cuts: list[int], head_only: bool) -> None:
    run(data, cuts, head_only)
    run(b"HTTP/1.1 200 OK\r\n" + data, cuts, head_only)
    run(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data, cuts, head_only)


TOKENS = st.lists(
    st.sampled_from([
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 C\r\n", b"HTTP/1.0 204 N\r\n", b"HTTP/1.1 101 S\r\n", b"\r\n", b"\r",
        b"\n", b"\r\n\r\n", b"content-length: 5\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n",
        b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b"hello", b"connection: close\r\n", b"connection: keep-alive\r\n",
        b"upgrade: x\r\n", b"content-encoding: gzip\r\n", b"x: y\r\n", b" ", b":", b";", b"\0", b"\xff", b"f" * 20,
    ]), max_size=12,
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(TOKENS, CUTS, st.booleans())
def test_any_order_of_the_parts_of_answers_means_the_same_however_cut(
    tokens: list[bytes], cuts: list[int], head_only: bool
) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"".join(tokens)
    whole, cut = run(data, [], head_only), run(data, cuts, head_only)
    if isinstance(whole[0], tuple) and isinstance(cut[0], tuple):
        assert whole[0] == cut[0]


@pytest.mark.parametrize("after", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_after_an_answer_belong_to_nothing(after: bytes) -> None:
    assert run(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi" + after, [])[0] == (200, b"hi")
