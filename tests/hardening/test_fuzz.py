"""Any bytes in any pieces: bytes of one request are never another, and every request has one answer, in order."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .fuzzing import check, check_bytes, encoded, pieces_of
from .grammar import wrong_requests

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_nearly_sound_requests_are_what_llhttp_and_h11_read(random: Random) -> None:
    check(wrong_requests(random))


def test_many_nearly_sound_requests() -> None:
    """The same, quicker. `make fuzz` goes on with this for long."""
    seen = whole = refused = 0
    for number in range(3000):
        pieces = wrong_requests(Random(number))
        try:
            served = check(pieces)
        except Exception as error:
            error.add_note(f"Random({number}): {encoded(pieces)!r}")
            raise
        seen += len(served.seen)
        whole += sum(one.body is not None for one in served.seen)
        refused += b"HTTP/1.1 400" in served.written
    assert min(seen, whole, refused) > 600  # all of it is tried


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=5))
def test_any_bytes(pieces: list[tuple[bytes, bool]]) -> None:
    check(pieces)
    check([(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", True), *pieces])


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.name)
def test_what_a_fuzzer_found_once(file: Path) -> None:
    check_bytes(file.read_bytes())


@given(st.randoms(use_true_random=False))
def test_a_corpus_file_says_what_was_sent(random: Random) -> None:
    pieces = wrong_requests(random)
    if not any(mark in piece for piece, _ in pieces for mark in (b"\xf8", b"\xf9")):
        assert encoded(pieces_of(encoded(pieces))[:-1]) == encoded(pieces)
