"""Any bytes in any pieces: no crash, no hang, no wrong body."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_core.wire.head import HeaderBlocks, check_target, chunked_head, plain_request, verb

from .fuzzing import check, conversation, encoded, run
from .grammar import wrong_answers

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


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


def body_and_reuse(data: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    outcome = run(data, cuts)
    assert outcome.status == 200, outcome
    return outcome.body, outcome.reusable


CUTS = st.lists(st.integers(0, 2000), max_size=30)


@settings(max_examples=250, deadline=None)
@given(responses(), CUTS)
def test_however_a_sound_answer_is_cut_it_is_the_same(answer: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    data, body, reusable = answer
    assert body_and_reuse(data, cuts) == (body, reusable)
    assert body_and_reuse(data, list(range(len(data)))) == (body, reusable)


@settings(max_examples=300, deadline=None)
@given(responses(), CUTS, st.integers(1, 10_000))
def test_cut_short_it_is_never_taken_for_whole(answer: tuple[bytes, bytes, bool], cuts: list[int], short: int) -> None:
    data, body, reusable = answer
    part = data[: len(data) - 1 - short % len(data)]
    outcome = run(part, cuts)
    assert not outcome.reusable
    if reusable:
        assert outcome.kind == "ConnectionLost"
    elif not outcome.kind:
        assert body.startswith(outcome.body)  # only the connection's end can say where such a body ends


@settings(max_examples=300, deadline=None)
@given(responses(), st.binary(min_size=1, max_size=60), CUTS)
def test_what_follows_is_never_mixed_in_nor_the_connection_reused(
    answer: tuple[bytes, bytes, bool], extra: bytes, cuts: list[int]
) -> None:
    data, body, reusable = answer
    if reusable and extra.strip(b"\r\n"):
        # Bytes that come after the answer was told reach an idle connection, which then closes.
        assert body_and_reuse(data + extra, cuts) == (body, False)


@settings(max_examples=250, deadline=None)
@given(st.binary(max_size=400), CUTS, st.booleans())
def test_any_bytes(data: bytes, cuts: list[int], head_only: bool) -> None:
    run(data, cuts, head_only)
    run(b"HTTP/1.1 200 OK\r\n" + data, cuts, head_only)
    run(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data, cuts, head_only)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_nearly_sound_answers_mean_what_llhttp_and_h11_read(random: Random) -> None:
    check(wrong_answers(random))


def test_many_nearly_sound_answers() -> None:
    """The same, quicker: hypothesis counts and remembers what it draws. `make fuzz` goes on with this for long."""
    taken = refused = 0
    for number in range(5000):
        asked = wrong_answers(Random(number))
        try:
            outcomes = check(asked)
        except Exception as error:
            error.add_note(f"Random({number}): {encoded(asked)!r}")
            raise
        taken += sum(not outcome.kind for outcome in outcomes)
        refused += sum(bool(outcome.kind) for outcome in outcomes)
    assert min(taken, refused) > 1000  # both are tried


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_what_a_fuzzer_found_once(file: Path) -> None:
    check(conversation(file.read_bytes()))


@given(st.randoms(use_true_random=False))
def test_a_corpus_file_says_what_was_asked(random: Random) -> None:
    asked = wrong_answers(random)
    again = conversation(encoded(asked))
    if not any(mark in b"".join(one.pieces) for one in asked for mark in (b"\xf8", b"\xf9", b"\xfa", b"\xfb")):
        assert encoded(again) == encoded(asked)


@pytest.mark.parametrize("after", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_after_an_answer_belong_to_nothing(after: bytes) -> None:
    assert run(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi" + after, []).body == b"hi"


class Sent:
    """What llhttp reads of what the wire sends."""

    def __init__(self, data: bytes) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = self.target = b""
        self.ended = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.requests.append((self.parser.get_method(), self.target))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


PIECE = st.sampled_from(
    ["/", "a", "?", " ", "\r\n", "\n", "\0", "HTTP/1.1", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "#", "\xe4", "%"]
)
LINE = st.sampled_from([
    b"a: b\r\n", b"x:\r\n", b"c: \xc3\xa4\t d\r\n", b"Te: x\r\n", b"Content-Length: 3\r\n", b"content-length : 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Upgrade: x\r\n", b"a: b\n", b"a: b\r", b"\r\n", b" c\r\n", b": d\r\n",
    b"hos: t\r\n", b"a: \x00\r\n", b"a: b\r\nhost: evil\r\n", b"connection: upgrade\r\n", b"a", b"GET / HTTP/1.1\r\n",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "G ET", "GET\r\n", "CONNECT", ""]),
    st.lists(PIECE, max_size=4).map("".join),
    st.lists(LINE, max_size=4).map(b"".join),
    st.sampled_from([b"", b"hello", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"]),
    st.booleans(),
)
def test_whatever_a_caller_gives_is_one_request_or_none(
    method: str, target: str, block: bytes, body: bytes, chunked: bool
) -> None:
    try:
        known = verb(method)
        check_target("/" + target)
        HeaderBlocks().check(block)
    except ValueError:
        return
    if chunked:
        data = chunked_head(known, "/" + target, b"shop", block, None) + b"%x\r\n%b\r\n0\r\n\r\n" % (
            len(body) or 1,
            body or b"x",
        )
        body = body or b"x"
    else:
        data = plain_request(known, "/" + target, b"shop", block, body)
    sent = Sent(data)
    assert sent.requests == [(method.encode(), b"/" + target.encode())]
    assert (sent.ended, sent.body) == (1, body)
    assert [value for name, value in sent.headers if name.lower() == b"host"] == [b"shop"]
    lines = [line for line in block.split(b"\r\n") if line]
    assert len(sent.headers) == len(lines) + 1 + (chunked or bool(body) or known.bodied)
