"""The pure parts of lean delivery: entity tags, Cache-Control, Accept-Encoding, Prefer."""

from __future__ import annotations

import zlib
from typing import Literal

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bff_core.delivery import Codings, Deliverer, Delivery, check_cache_control, entity_tag, matching
from bff_core.delivery import settings as delivery_settings
from bff_core.delivery.coding import choose
from bff_core.errors import DeclarationError
from bff_core.pages.prefer import wants_minimal

OFFERED = ("zstd", "br", "gzip")
TEXT = b'{"name":"Lamp","price":1}' * 100


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("BR", "br"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0.5, zstd;q=0", "br"),
        ("br;q=0, gzip;q=0", None),
        ("identity, br;q=0.9", None),
        ("identity;q=0.2, br;q=0.9", "br"),
        ("deflate", None),
        ("br;q=nonsense, gzip;q=0.001", "gzip"),
        ("br;q=2", None),
        ("br ; q=0.5 , gzip ; Q=0.4", "br"),
    ],
)
def test_the_coding_is_what_the_client_likes_best(accepted: str, coding: str | None) -> None:
    assert choose(accepted.encode(), OFFERED) == coding


@given(st.binary(max_size=200))
def test_any_accept_encoding_has_an_answer(accepted: bytes) -> None:
    assert choose(accepted, OFFERED) in (*OFFERED, None)


def test_what_was_chosen_is_remembered_within_bounds() -> None:
    codings = Codings(OFFERED, 1)
    for number in range(1000):
        codings.choose(b"br;q=0.5, x%d" % number)
    codings.choose(b"gzip," * 500)
    assert len(codings._chosen) <= 256
    assert max(map(len, codings._chosen)) < 512


def test_every_coding_gives_the_same_content_back() -> None:
    def unzip(data: bytes) -> bytes:
        return zlib.decompress(data, 31)

    back = {"zstd": zstandard.ZstdDecompressor().decompress, "br": brotli.decompress, "gzip": unzip}
    for name in OFFERED:
        coding = Codings(OFFERED, 1).choose(name.encode())
        assert coding is not None
        compressed = coding.compress(TEXT)
        assert len(compressed) < len(TEXT) / 10
        assert back[name](compressed) == TEXT
        assert coding.compress(TEXT) == compressed, "a strong validator needs the same bytes"


def test_an_endless_accept_encoding_is_not_read() -> None:
    codings = Codings(("gzip",), 0)
    assert codings.choose(b"gzip" + b"," * 1020) is not None
    assert codings.choose(b"gzip" + b"," * 1021) is None


TAG = entity_tag(b"content")


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        (TAG, TAG),
        (b"W/" + TAG, TAG),
        (b"*", TAG),
        (b' "other", ' + TAG + b' , "x"', TAG),
        (TAG[:-1] + b'-br"', TAG[:-1] + b'-br"'),
        (TAG[:-1] + b'-made-up"', None),
        (b'"other"', None),
        (TAG.strip(b'"'), None),
        (b'"a, ' + TAG[1:], None),
        (b"", None),
        (b'"a",' * 505 + TAG, TAG),
        (b'"a",' * 512 + TAG, None),
    ],
)
def test_if_none_match(condition: bytes, matches: bytes | None) -> None:
    assert matching(condition, TAG) == matches


def test_two_texts_that_a_faster_hash_takes_for_one_have_two_tags() -> None:
    """Made by hand, no search: in a block of 1024 bytes XXH3 adds up, and here a bit is moved between two lanes."""
    one, other = bytearray(b"x" * 2224), bytearray(b"x" * 2224)
    for text, first, second in ((one, b"aaba0", b"qexg1"), (other, b"aaba1", b"qexg0")):
        text[0:5], text[768:773] = first, second
    assert entity_tag(bytes(one)) != entity_tag(bytes(other))


@given(st.binary(), st.binary())
def test_other_content_has_another_tag(one: bytes, other: bytes) -> None:
    assert (entity_tag(one) == entity_tag(other)) == (one == other)
    assert matching(entity_tag(one), entity_tag(other)) == (entity_tag(one) if one == other else None)


@pytest.mark.parametrize(
    ("value", "private", "message"),
    [
        ("max-age", False, "needs seconds for 'max-age'"),
        ("max-age=soon", False, "needs seconds"),
        ("maxage=3", False, "has 'maxage=3'; there is: immutable, max-age"),
        ("public, public", False, "'public' twice"),
        ("public, private", False, "contradicts itself"),
        ("no-store, max-age=3", False, "contradicts itself"),
        ("no-cache=1", False, "has 'no-cache=1'"),
        ("", False, "there is"),
        ("max-age=30", True, "must say 'private' or 'no-store'"),
        ("public, max-age=30", True, "neither 'public'"),
        ("private, s-maxage=30", True, "nor 's-maxage'"),
    ],
)
def test_a_wrong_cache_control_is_refused(value: str, private: bool, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        check_cache_control(value, "Page", private=private)


def test_a_right_one_is_not() -> None:
    assert check_cache_control("private, max-age=30, stale-while-revalidate=60", "Page", private=True)
    assert check_cache_control("public, s-maxage=30, immutable", "Page", private=False)
    assert not check_cache_control("no-store", "Page", private=True)


@pytest.mark.parametrize(
    ("prefer", "minimal"),
    [
        (b"return=minimal", True),
        (b'respond-async, Return = "minimal"; foo=1', True),
        (b"return=representation", False),
        (b"return=representation, return=minimal", False),
        (b"noreturn=minimal", False),
        (b"return=minimalist", False),
        (b"", False),
    ],
)
def test_prefer(prefer: bytes, minimal: bool) -> None:
    assert wants_minimal([(b"host", b"x"), (b"prefer", prefer)]) is minimal


def test_a_coding_without_its_library_is_refused_at_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery_settings, "missing", lambda name: name == "br")
    assert Delivery(codings=("gzip",))
    with pytest.raises(ValidationError, match=r"br needs a library; pip install 'bff-core\[compression\]'"):
        Delivery(codings=("gzip", "br"))


@pytest.mark.parametrize("name", OFFERED)
def test_each_coding_has_its_own_strong_tag(name: Literal["zstd", "br", "gzip"]) -> None:
    deliverer = Deliverer(Delivery(codings=(name,)), tags=True)
    tag = entity_tag(TEXT)
    _, plain, plainly = deliverer.deliver([], 200, TEXT, tag)
    _, coded, codedly = deliverer.deliver([(b"accept-encoding", name.encode())], 200, TEXT, tag)
    assert plain == TEXT != coded
    assert dict(plainly) == {b"vary": b"Accept-Encoding", b"etag": tag}
    own = dict(codedly)[b"etag"]
    assert own != tag
    for known in (tag, own):
        status, content, headers = deliverer.deliver([(b"if-none-match", known)], 200, TEXT, tag)
        assert (status, content) == (304, b"")
        assert dict(headers) == {b"vary": b"Accept-Encoding", b"etag": known}
