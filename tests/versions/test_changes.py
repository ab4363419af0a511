"""Each kind of change, and what is refused when it is declared."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from bff_core import (
    Added,
    Converted,
    DeclarationError,
    Moved,
    Removed,
    Renamed,
    Replaced,
    ValueAdded,
    Version,
    Versions,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    kind: Literal["inner"] = "inner"
    a: int
    b: int = 0


class Other(BaseModel):
    kind: Literal["other"] = "other"
    c: int


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=2, description="What it is called.")
    size: int = 1
    inner: Inner
    maybe: Inner | None = None
    either: Inner | Other | list[Inner] | None = None
    colours: list[Colour] = []
    wire: str = Field(default="", alias="on-wire")


class Tree(BaseModel):
    label: str
    children: list[Tree] = []
    inner: Inner | None = None


def at(model: type[BaseModel], *changes: Any) -> Any:
    return Versions(Version("2026-01-02", *changes), Version("2026-01-01")).at(model, "2026-01-01")


HEAD: dict[str, Any] = {"name": "ab", "size": 2, "inner": {"kind": "inner", "a": 1, "b": 2}}


@pytest.mark.parametrize(
    ("change", "older"),
    [
        (Renamed(Thing, "title", to="name"), {"title": "ab"}),
        (Converted(Thing, "size", was=str, down=str, up=int), {"size": "2"}),
        (Removed(Thing, "legacy", int, value=7), {"legacy": 7}),
        (Removed(Thing, "initial", str, reads=["name"], down=lambda name: name[0]), {"initial": "a"}),
        (Moved(Thing, "a", to="inner.a"), {"a": 1, "inner": {"kind": "inner", "b": 2}}),
        (Moved(Thing, "meta.title", to="name"), {"meta": {"title": "ab"}}),
        (Renamed(Inner, "x", to="a"), {"inner": {"kind": "inner", "x": 1, "b": 2}}),
        (
            Replaced(Thing, {"first": str, "second": str}, by=["name"], down=tuple, up=lambda *parts: "".join(parts)),
            {"first": "a", "second": "b"},
        ),
    ],
)
def test_there_and_back(change: Any, older: dict[str, Any]) -> None:
    """Down and up again; nothing but what was changed has."""
    found = at(Thing, change)
    down = found.down({**HEAD, "inner": dict(HEAD["inner"])})
    gone = [key for key in HEAD if key not in down]
    assert {key: value for key, value in down.items() if HEAD.get(key) != value} == older
    assert set(down) == set(HEAD) - set(gone) | set(older)
    found.model.model_validate(down)
    assert found.up(down) == HEAD


def test_added_ones_are_not_shown_and_have_their_default() -> None:
    """Which a client that sends the newer member all the same does not choose."""
    found = at(Thing, Added(Thing, "size", default=9))
    assert "size" not in found.down(dict(HEAD))
    assert found.up({"name": "ab", "size": 4})["size"] == 9


def test_what_only_newer_versions_know_is_dropped_from_requests() -> None:
    """An older client cannot set a newer member by its new name."""
    found = at(Thing, Renamed(Thing, "count", to="size"))
    assert found.up({"name": "ab", "size": 4}) == {"name": "ab"}
    assert found.up({"name": "ab", "size": 4, "count": 5}) == {"name": "ab", "size": 5}


def test_changes_of_one_version_follow_each_other() -> None:
    """From top to bottom: each sees what the ones above it have made."""
    first = Renamed(Thing, "title", to="name")
    then = Converted(Thing, "name", was=int, down=int, up=str)
    found = at(Thing, first, then)
    assert found.down({"name": "12"}) == {"title": 12}
    assert found.up({"title": 12}) == {"name": "12"}
    with pytest.raises(DeclarationError, match="there is no 'name' after the change"):
        at(Thing, then, first)


def test_declared_values_are_not_shared() -> None:
    """Each document has its own, so that later changes of one do not show in another."""
    declared = {"kind": "inner", "a": 1, "b": 2}
    versions = Versions(
        Version("2026-01-03", Removed(Thing, "old", Inner, value=declared)),
        Version("2026-01-02", Renamed(Inner, "x", to="a")),
        Version("2026-01-01"),
    )
    down = versions.at(Thing, "2026-01-01").down
    assert down is not None
    assert down({"name": "ab"})["old"] == {"kind": "inner", "x": 1, "b": 2}
    assert declared == {"kind": "inner", "a": 1, "b": 2}


def test_values() -> None:
    """New ones are shown as old ones, alone and in lists; the older model does not know them."""
    found = at(Thing, ValueAdded(Thing, "colours", "blue", instead="red"))
    assert found.down({"colours": ["red", "blue"]}) == {"colours": ["red", "red"]}
    assert found.model.model_json_schema()["properties"]["colours"]["items"]["const"] == "red"


def test_members_keep_their_constraints_and_their_order() -> None:
    """The older model reads requests as the head does."""
    model = at(Thing, Renamed(Thing, "title", to="name")).model
    schema = model.model_json_schema()
    assert list(schema["properties"]) == ["title", "size", "inner", "maybe", "either", "colours", "on-wire"]
    assert schema["properties"]["title"]["minLength"] == 2
    assert schema["properties"]["title"]["description"] == "What it is called."
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["title", "inner"]


def test_wherever_the_model_is() -> None:
    """In unions told apart by a literal, in lists, where it may be null."""
    found = at(Thing, Renamed(Inner, "x", to="a"))
    assert found.down({"maybe": None, "either": {"kind": "other", "c": 1}}) == {
        "maybe": None,
        "either": {"kind": "other", "c": 1},
    }
    assert found.down({"maybe": {"a": 1}, "either": {"kind": "inner", "a": 2}}) == {
        "maybe": {"x": 1},
        "either": {"kind": "inner", "x": 2},
    }
    assert found.up({"either": [{"x": 3}]}) == {"either": [{"a": 3}]}


def test_models_that_hold_themselves() -> None:
    """To any depth, and their older models as well."""
    found = at(Tree, Renamed(Tree, "text", to="label"), Renamed(Inner, "x", to="a"))
    older = {"text": "1", "children": [{"text": "2", "children": [{"text": "3", "inner": {"x": 1}}]}]}
    found.model.model_validate(older)
    head = {"label": "1", "children": [{"label": "2", "children": [{"label": "3", "inner": {"a": 1}}]}]}
    assert found.up({**older}) == head
    assert found.down(head)["children"][0]["children"][0] == {"text": "3", "inner": {"x": 1}}


def test_one_place_differs_from_the_others() -> None:
    """A member moved out of an object is missing there; older changes of the model hold there all the same."""
    versions = Versions(
        Version("2026-01-03", Moved(Thing, "a", to="inner.a")),
        Version("2026-01-02", Renamed(Inner, "y", to="b"), Renamed(Inner, "x", to="a")),
        Version("2026-01-01"),
    )
    down = versions.at(Thing, "2026-01-01").down
    assert down is not None
    assert down({"inner": {"a": 1, "b": 2}, "maybe": {"a": 3, "b": 4}}) == {
        "a": 1,
        "inner": {"y": 2},
        "maybe": {"x": 3, "y": 4},
    }


class Ambiguous(BaseModel):
    either: Thing | Tree


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: at(Thing, Renamed(Thing, "a", to="nothing")), "Renamed in Thing: there is no 'nothing' after the change"),
    (lambda: at(Thing, Renamed(Thing, "size", to="name")), "'size' is there after the change"),
    (lambda: at(Thing, Added(Thing, "nothing")), "there is no 'nothing'"),
    (lambda: at(Thing, Removed(Thing, "size", int)), "'size' is there after the change"),
    (lambda: at(Thing, Removed(Thing, "old", int, reads=["name"])), "reads= and down= belong together"),
    (lambda: at(Thing, Converted(Thing, "nothing", was=str, down=str)), "there is no 'nothing'"),
    (lambda: at(Thing, Replaced(Thing, {"size": int}, by=["name"], down=len)), "'size' is there after the change"),
    (lambda: at(Thing, Replaced(Thing, {"x": int}, by="name", down=len)), "a list of newer ones"),
    (lambda: at(Thing, Moved(Thing, "a", to="b")), "within one object that is Renamed"),
    (lambda: at(Thing, Moved(Thing, "a", to="maybe.a")), "'maybe' is not always an object"),
    (lambda: at(Thing, Moved(Thing, "a", to="inner.z")), "there is no 'z'"),
    (lambda: at(Thing, ValueAdded(Thing, "colours", "green", instead="red")), "'green' is none of its values"),
    (lambda: at(Thing, ValueAdded(Thing, "colours", "red", instead="red")), "is the new value itself"),
    (lambda: at(Thing, *[Renamed(Thing, "a", to="name")] * 2), "the same change twice"),
    (lambda: at(Ambiguous, Renamed(Thing, "a", to="name")), "give each a member with a Literal of its own"),
    (Versions, "at least one Version"),
    (lambda: Versions(Version("2026-01-01"), Version("2026-01-02")), "the newest first"),
    (lambda: Versions(Version("2026-01-01"), Version("2026-01-01")), "each once"),
    (lambda: Versions(Version("2026-01-01", Added(Thing, "size"))), "is the oldest"),
    (lambda: Versions(Version("2026-01-02", path="/v"), Version("2026-01-01", path="/v")), "have the same path"),
    (lambda: Version("v1"), "must be a date"),
    (lambda: Version("20260101"), "must be a date"),
    (lambda: Version("2026-01-01", path="v1"), "one segment"),
    (lambda: Version("2026-01-01", sunset=date(2027, 1, 1)), "needs a deprecated="),
    (lambda: Version("2026-01-01", sunset=date(2027, 1, 1), deprecated=date(2028, 1, 1)), "not after it"),
    (lambda: Version("2026-01-01", guide="https://x\r\ny: z"), "must be an http URL"),
]


@pytest.mark.parametrize(("declare", "message"), WRONG, ids=[message for _, message in WRONG])
def test_declared_wrongly(declare: Callable[[], Any], message: str) -> None:
    """At import, with the place named."""
    with pytest.raises(DeclarationError, match=re.escape(message)):
        declare()


def test_a_gap_in_the_history() -> None:
    """A change of an older version is checked against what its model was then, not against the head's."""
    with pytest.raises(DeclarationError, match="version 2026-01-02: Renamed in Thing: there is no 'name'"):
        Versions(
            Version("2026-01-03", Renamed(Thing, "title", to="name")),
            Version("2026-01-02", Renamed(Thing, "caption", to="name")),
            Version("2026-01-01"),
        )
