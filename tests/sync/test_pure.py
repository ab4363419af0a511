"""The parts without I/O: versions, views, enumerations, states, tokens, the outbox."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import (
    BadResponse,
    CallTimeout,
    CircuitOpen,
    ConnectFailed,
    ConnectionLost,
    DeclarationError,
    UnexpectedStatus,
)
from bff_core.errors import ServiceError
from bff_core.sync.content import key_of, read_version, show_version, version_of
from bff_core.sync.enumeration import Enumeration, Room
from bff_core.sync.outbox import KEPT, Outbox, Result, Vain, acknowledged, outcome
from bff_core.sync.state import Entry, State, name_of, pack, unpack
from bff_core.sync.token import Sealer, Token, new_key
from bff_core.sync.view import Row, View, merge, words

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
contents = st.binary(min_size=1, max_size=4)
listings = st.dictionaries(names, contents, max_size=30)
HUGE = 10**9


def row(name: str, content: bytes) -> Row:
    return Row(name, key_of(name), version_of(content), content)


def rows(listing: dict[str, bytes]) -> list[Row]:
    return [row(name, content) for name, content in listing.items()]


def view(listing: dict[str, bytes]) -> View:
    return View.of({name: show_version(version_of(content)) for name, content in listing.items()})


def versions(of: View) -> dict[str, int]:
    return dict(zip(of.names(), of.versions, strict=True))


def enumerate_all(base: View, listing: dict[str, bytes], size: int, room: Room | None = None) -> Enumeration:
    """A whole enumeration in answers of ``size`` items, packed and unpacked between them."""
    run, items, start = Enumeration.of(base, "s", 0), rows(listing), 0
    while not run.complete:
        memo = run.memo()
        page = items[start : start + size]
        following = str(start + size) if start + size < len(items) else None
        etag = str(hash(tuple((each.key, each.version) for each in page)))
        if memo is not None and memo.etag == etag and memo.following == following:
            run.not_modified(memo)
        else:
            before = len(run.memos)
            run.page(page, following, etag, room or Room(HUGE, HUGE))
            if len(run.memos) == before:
                if room is not None:
                    room.empty, room.items, room.size = True, 3, 20
                continue
        start += size
        run = unpack(b"".join(pack(State({"c": Entry(base, run)})))).entries["c"].enumeration or run
        run.complete = following is None
    return run


@given(st.binary())
def test_versions_survive_the_wire(content: bytes) -> None:
    assert read_version(show_version(version_of(content))) == version_of(content)
    assert len(show_version(version_of(content))) == 11


@given(st.text(max_size=20))
def test_any_text_is_read_as_a_version(text: str) -> None:
    assert 0 <= read_version(text) < 2**64


@given(listings, listings, st.integers(1, 10))
def test_two_agreeing_enumerations_bring_a_client_up_to_date(
    old: dict[str, bytes], new: dict[str, bytes], size: int
) -> None:
    client = dict(old)
    base = view(old)
    for _ in range(2):
        run = enumerate_all(base, new, size)
        finished = run.finish(0.0, 0.0)
        client |= {name: new[name] for name in bytes(run._all_sent()[2]).decode().split("\n")[:-1]}
        for name in finished.deletes:
            del client[name]
        assert versions(finished.view) == {name: version_of(content) for name, content in client.items()}
        base = finished.view
    assert client == new
    assert finished.verdict == "done"


@given(listings, listings, st.integers(1, 10))
def test_a_partial_enumeration_never_deletes(old: dict[str, bytes], new: dict[str, bytes], size: int) -> None:
    run = Enumeration.of(view(old), "s", 0)
    run.page(rows(new)[:size], "more", None, Room(HUGE, HUGE))
    kept = versions(run.give_up())
    assert set(old) <= set(kept)
    assert kept == versions(view({**old, **dict(list(new.items())[:size])}))


@given(listings, st.integers(1, 10), st.integers(1, 4), st.integers(1, 30))
def test_interruptions_change_nothing(listing: dict[str, bytes], size: int, items: int, room: int) -> None:
    whole = enumerate_all(View(), listing, size).finish(0.0, 0.0).view
    parts = enumerate_all(View(), listing, size, Room(items, room)).finish(0.0, 0.0).view
    assert versions(whole) == versions(parts)


@given(listings, listings, st.integers(1, 10))
def test_what_is_missing_is_not_believed_at_once(old: dict[str, bytes], new: dict[str, bytes], size: int) -> None:
    finished = enumerate_all(view(old), new, size).finish(0.0, 60.0)
    missing = set(old) - set(new)
    guarded = not new or (len(missing) > 10 and len(missing) > len(old) * 0.1)
    if missing and (guarded or len(new) > size):
        assert finished.deletes == []
        assert finished.verdict != "done"
    else:
        assert set(finished.deletes) == missing


@pytest.mark.parametrize(("missing", "deleted"), [(10, True), (11, False)])
def test_the_guard_is_above_ten_items(missing: int, deleted: bool) -> None:
    old = {f"n{number}": b"x" for number in range(20)}
    new = dict(list(old.items())[missing:])
    run = Enumeration.of(view(old), "s", 0)
    run.page(rows(new), None, None, Room(HUGE, HUGE))
    assert (len(run.finish(0.0, 60.0).deletes) == missing) == deleted


@pytest.mark.parametrize(("of", "deleted"), [(110, True), (109, False)])
def test_the_guard_is_above_a_tenth(of: int, deleted: bool) -> None:
    old = {f"n{number}": b"x" for number in range(of)}
    run = Enumeration.of(view(old), "s", 0)
    run.page(rows(dict(list(old.items())[11:])), None, None, Room(HUGE, HUGE))
    assert (len(run.finish(0.0, 60.0).deletes) == 11) == deleted


@pytest.mark.parametrize(("waited", "deleted"), [(59.0, False), (60.0, True), (-60.0, True)])
def test_a_doubt_lasts_so_long(waited: float, deleted: bool) -> None:
    base = view({"a": b"x"})
    for now, expected in ((1000.0, False), (1000.0 + waited, deleted)):
        run = Enumeration.of(base, "s", 0)
        run.page([], None, None, Room(HUGE, HUGE))
        finished = run.finish(now, 60.0)
        assert (finished.deletes == ["a"]) == expected
        base = finished.view


def test_an_item_in_two_answers_is_not_vouched_for() -> None:
    run = Enumeration.of(View(), "s", 0)
    run.page(rows({"a": b"1", "b": b"1"}), "2", '"x"', Room(HUGE, HUGE))
    run.page(rows({"a": b"2"}), None, '"y"', Room(HUGE, HUGE))
    assert [memo.etag for memo in run.finish(0.0, 0.0).view.memos] == [None, None]


def test_tags_of_another_projection_are_not_used() -> None:
    run = Enumeration.of(View(), "s", 0)
    run.page(rows({"a": b"1"}), None, '"x"', Room(HUGE, HUGE))
    base = run.finish(0.0, 0.0).view
    assert Enumeration.of(base, "s", 0).memo() is not None
    assert Enumeration.of(base, "other", 0).memo() is None


@pytest.mark.parametrize("cursors", [["a", "a"], ["a", "b", "a"]])
def test_cursors_that_go_round_are_refused_before_anything_is_taken(cursors: list[str]) -> None:
    run = Enumeration.of(View(), "s", 0)
    for number, cursor in enumerate(cursors[:-1]):
        run.page(rows({str(number): b"x"}), cursor, None, Room(HUGE, HUGE))
    with pytest.raises(BadResponse):
        run.page(rows({"new": b"x"}), cursors[-1], None, Room(HUGE, HUGE))
    assert "new" not in run.give_up().names()


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 10), st.integers(1, 100))
def test_room_is_never_exceeded_but_by_one_item_alone(sizes: list[int], items: int, size: int) -> None:
    room = Room(items, size)
    taken = [each for each in sizes if room.take(each)]
    assert taken
    assert len(taken) <= items
    assert sum(taken) <= size or len(taken) == 1


@given(listings, listings, st.integers(1, 10), st.integers(0, 9))
def test_states_survive_the_store(old: dict[str, bytes], new: dict[str, bytes], size: int, ack: int) -> None:
    view_ = enumerate_all(view(old), new, size).finish(5.0, 60.0).view
    run = Enumeration.of(view_, "s", 3)
    run.page(rows(new), "next", '"tag"', Room(2, 10))
    state = State({"a": Entry(view_), "b": Entry(view_, run), "c": Entry(View())}, ("b",), ack)
    packed = b"".join(pack(state))
    read = unpack(packed)
    assert (read.todo, read.ack, read.entries["a"], read.entries["c"]) == (("b",), ack, Entry(view_), Entry(View()))
    again = read.entries["b"].enumeration
    assert again is not None
    assert (again.sent, again.finish(5.0, 60.0)) == (run.sent, run.finish(5.0, 60.0))
    assert b"".join(pack(read)) == packed
    assert name_of(pack(read)) == name_of([packed])


@given(listings, st.lists(st.tuples(names, contents), max_size=30), st.data())
def test_a_merge_is_that_of_two_tables(
    old: dict[str, bytes], sent: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    base = view(old)
    without = data.draw(st.sets(st.integers(0, len(base) - 1))) if len(base) else set()
    gone = set(base.names(sorted(without)))
    merged = merge(
        base,
        without,
        words(key_of(name) for name, _ in sent),
        words(version_of(content) for _, content in sent),
        b"".join(name.encode() + b"\n" for name, _ in sent),
    )
    table = {name: content for name, content in old.items() if name not in gone} | dict(sent)
    assert versions(merged) == {name: version_of(content) for name, content in table.items()}
    assert list(merged.keys) == sorted(merged.keys)


def test_a_merge_of_many() -> None:
    """More than one bucket of keys, and keys that are all in one."""
    for keys in ([key_of(str(number)) for number in range(3000)], list(range(3000, 0, -1))):
        ids = b"".join(b"%d\n" % key for key in keys)
        merged = merge(View(), [], words(keys * 2), words([1] * 3000 + [2] * 3000), ids * 2)
        assert list(merged.keys) == sorted(keys)
        assert merged.names() == [str(key) for key in sorted(keys)]
        assert set(merged.versions) == {2}


@pytest.mark.parametrize(
    "packed", [b"", b"\0\0\0\2{}", b"\0\0\0\1x", b"".join(pack(State())).replace(b'"f":1', b'"f":9')]
)
def test_a_state_of_another_format_is_refused(packed: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        unpack(packed)


# Tokens.


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1))
def test_tokens_are_opened_by_whom_they_are_for(state: bytes, parent: bytes, hour: int) -> None:
    sealer = Sealer([new_key()])
    token = Token(state, parent, hour)
    text = sealer.seal(token, b"u1")
    assert sealer.open(text, b"u1") == token
    assert sealer.open(text, b"u2") is None
    assert sealer.is_newest(text)
    assert len(text) == 92


@given(st.integers(0, 68), st.integers(1, 255))
def test_no_byte_of_a_token_can_be_changed(place: int, mask: int) -> None:
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    sealer = Sealer([b"k" * 32])
    raw = bytearray(urlsafe_b64decode(sealer.seal(Token(b"s" * 16), b"u1")))
    raw[place] ^= mask
    assert sealer.open(urlsafe_b64encode(bytes(raw)).decode(), b"u1") is None


def test_key_rotation() -> None:
    old, new = new_key(), new_key()
    text = Sealer([old]).seal(Token(b"s" * 16), b"u1")
    both = Sealer([new, old])
    assert both.open(text, b"u1") == Token(b"s" * 16)
    assert not both.is_newest(text)
    assert Sealer([new]).open(text, b"u1") is None


@pytest.mark.parametrize("keys", [[], [b"short"], [os.urandom(32), b""]])
def test_keys_that_are_none(keys: list[bytes]) -> None:
    with pytest.raises(DeclarationError):
        Sealer(keys)


# The outbox.


def result(seq: int, status: Any = "applied", op: str = "op") -> Result:
    return Result(seq, f"m{seq}", op, status)


def test_places_of_the_outbox() -> None:
    box = Outbox(0)
    assert (box.place(1, "m1"), box.place(2, "m2")) == ("next", "gap")
    box = box.begin(1, "m1")
    assert (box.place(1, "m1"), box.place(1, "other")) == ("resend", "taken")
    box = box.settle(result(1))
    assert (box.place(1, "m1"), box.place(1, "other"), box.place(2, "m2")) == ("done", "taken", "next")
    assert box.begin(2, "m2").withdrawn().place(2, "m2") == "next"


@given(st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["a", "b"])), max_size=40))
def test_mutations_are_done_once_each_in_their_order(tries: list[tuple[int, str]]) -> None:
    box, done = Outbox(0), []
    for seq, id_ in tries:
        if box.place(seq, id_) == "next":
            box = Outbox.load(box.begin(seq, id_).dump())
            box = Outbox.load(box.settle(Result(seq, id_, "op", "applied")).dump())
            done.append(seq)
    assert done == list(range(1, len(done) + 1))


def test_results_are_kept_for_a_while() -> None:
    box = Outbox(0)
    for seq in range(1, KEPT + 10):
        box = box.settle(result(seq))
    assert len(box.results) == KEPT
    assert (box.place(9, "m9"), box.place(10, "m10")) == ("taken", "done")


def test_what_was_in_vain_is_a_mutations_own() -> None:
    """Look-ups and credentials are counted apart, and nobody inherits them."""
    box = Outbox.load(Outbox(0).missed("a").missed("a").refused("a").dump())
    assert box.in_vain("a") == Vain("a", misses=2, refusals=1)
    assert box.in_vain("b") == Vain("b")
    assert box.begin(1, "a").in_vain("a") == Vain("a", misses=0, refusals=1), "it was looked at"
    assert box.refused("b").in_vain("b") == Vain("b", refusals=1)
    assert box.settle(result(1)).vain is None


def test_an_outbox_of_an_earlier_version() -> None:
    stored = b'{"done":3,"pending":null,"results":[[3,"m3","op","applied",null]],"misses":4}'
    assert Outbox.load(stored) == Outbox(3, results=(Result(3, "m3", "op", "applied"),))


def test_acknowledgements_wait_for_what_they_touch() -> None:
    box = Outbox(0).settle(result(1, op="a")).settle(result(2, "rejected", op="b")).settle(result(3, op="b"))
    touches = {"a": ["x"], "b": ["y"]}
    assert acknowledged(box, 0, {"x": 0, "y": 3}, touches) == 0
    assert acknowledged(box, 0, {"x": 1, "y": 0}, touches) == 2
    assert acknowledged(box, 0, {"x": 3, "y": 3}, touches) == 3
    assert acknowledged(box, 2, {"x": 0, "y": 0}, touches) == 2, "what was acknowledged stays so"
    assert acknowledged(box, 0, {}, touches) == 3, "collections that the client does not keep"


OUTCOMES: list[tuple[ServiceError | None, dict[str, Any], str]] = [
    (None, {}, "applied"),
    (ConnectFailed(), {"resendable": False}, "retry"),
    (CircuitOpen(), {"resendable": False}, "retry"),
    (CallTimeout(), {"sent": False, "resendable": False}, "retry"),
    (CallTimeout(), {}, "retry"),
    (CallTimeout(), {"resendable": False}, "unknown"),
    (CallTimeout(), {"strikes": 4}, "unknown"),
    (ConnectionLost(), {"resendable": False}, "unknown"),
    (BadResponse(), {}, "retry"),
    (UnexpectedStatus(503), {"resendable": False, "strikes": 99}, "retry"),
    (UnexpectedStatus(429), {"resendable": False, "strikes": 99}, "retry"),
    (UnexpectedStatus(504), {"strikes": 99}, "retry"),
    (UnexpectedStatus(504), {"resendable": False}, "unknown"),
    (UnexpectedStatus(500), {}, "retry"),
    (UnexpectedStatus(500), {"strikes": 4}, "unknown"),
    (UnexpectedStatus(409), {}, "conflict"),
    (UnexpectedStatus(412), {"first": False}, "conflict"),
    (UnexpectedStatus(409), {"first": False}, "retry"),
    (UnexpectedStatus(409), {"first": False, "strikes": 4}, "conflict"),
    (UnexpectedStatus(400), {}, "rejected"),
    (UnexpectedStatus(404), {}, "rejected"),
    (UnexpectedStatus(302), {}, "rejected"),
    (UnexpectedStatus(404), {"first": False}, "rejected"),
    (UnexpectedStatus(404), {"first": False, "keyed": False}, "unknown"),
    (UnexpectedStatus(404), {"first": False, "keyed": False, "deletes": True}, "applied"),
    (UnexpectedStatus(404), {"deletes": True}, "rejected"),
    (UnexpectedStatus(403), {}, "rejected"),
    (UnexpectedStatus(403), {"first": False}, "unknown"),
    (UnexpectedStatus(401), {}, "retry"),
    (UnexpectedStatus(401), {"resendable": False}, "retry"),
    (UnexpectedStatus(401), {"refusals": 3}, "retry"),
    (UnexpectedStatus(401), {"refusals": 4}, "rejected"),
    (UnexpectedStatus(401), {"refusals": 4, "resendable": False}, "rejected"),
    (UnexpectedStatus(401), {"first": False, "strikes": 3, "refusals": 4}, "retry"),
    (UnexpectedStatus(401), {"first": False, "resendable": False}, "unknown"),
    (UnexpectedStatus(401), {"first": False, "strikes": 4}, "unknown"),
    (UnexpectedStatus(408), {}, "retry"),
]


@pytest.mark.parametrize(("error", "options", "status"), OUTCOMES, ids=str)
def test_outcomes(error: ServiceError | None, options: dict[str, Any], status: str) -> None:
    given_ = {"sent": True, "resendable": True, "keyed": True, "deletes": False, "first": True, "strikes": 0} | options
    assert outcome(error, **given_)[0] == status


@pytest.mark.parametrize("resendable", [True, False])
def test_a_401_to_the_first_attempt_proves_that_nothing_was_done(resendable: bool) -> None:
    given_: dict[str, Any] = {"sent": True, "resendable": resendable, "keyed": resendable, "deletes": False}
    assert outcome(UnexpectedStatus(401), **given_, first=True, strikes=0) == ("retry", False)
    assert outcome(UnexpectedStatus(401), **given_, first=False, strikes=0)[1]
