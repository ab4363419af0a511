"""``?fields=product(name,price),reviews.rating``: which members of an answer's model a client may ask for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, RootModel

from ..errors import Problem
from ..versions import json_name

__all__ = ["Include", "Members", "members_of", "members_pattern", "only", "read_fields"]

DEPTH = 4  # levels of names; deeper, the pattern in the OpenAPI document would be longer than the rest of it
MOST = 500  # names, by what stands between them; nobody means more, and each is read
SHOWN = 10
EACH = "__all__"
_NAME = re.compile(r"[^\s,.()]+")
_LISTS = (list, set, frozenset, tuple, Sequence, Collection, Iterable)

Include = dict[str, Any]
"""pydantic's ``include``: True for a whole member, or what to include of it."""


class Member(NamedTuple):
    """A field by its name in the model, how many lists its value is within, and the members of what is in there."""

    field: str
    lists: int
    members: Members


Members = dict[str, Member]


def members_of(model: type[BaseModel], depth: int = DEPTH, *, plain: bool = False) -> Members:
    """The members of ``model`` by the names they have in the answer; ``plain`` when it is JSON that will be asked for
    them, which knows no other names and has no need to be told of lists."""
    kinds = {name: (json_name(name, info), info.annotation) for name, info in model.model_fields.items()}
    kinds |= {name: (info.alias or name, info.return_type) for name, info in model.model_computed_fields.items()}
    found: Members = {}
    for name, (called, annotation) in kinds.items():
        if name in model.model_fields and model.model_fields[name].exclude:
            continue
        inner, lists = _model_in(annotation)
        below = members_of(inner, depth - 1, plain=plain) if inner is not None and depth > 1 else {}
        found[called] = Member(called, 0, below) if plain else Member(name, lists, below)
    return found


def only(data: Any, include: Include | Literal[True]) -> Any:
    """What is to be included of ``data``, which is JSON, by its plain members."""
    if include is True or data is None:
        return data
    if isinstance(data, list):
        return [only(entry, include) for entry in data]
    return {name: only(value, include[name]) for name, value in data.items() if name in include}


def members_pattern(members: Members) -> str:
    """What ``read_fields`` takes, as a regular expression."""
    item = _pattern(members)
    return rf"^\s*(?:(?:{item})\s*)?(?:,\s*(?:(?:{item})\s*)?)*$"


def read_fields(texts: Iterable[str], members: Members) -> Include:
    """What the client asks for. Raises a 400 problem for what is not there, with what there is, and for what cannot be
    read."""
    include: Include = {}
    unknown: list[tuple[str, Members]] = []
    names = 0
    for text in texts:
        names += text.count(",") + text.count("(") + text.count(".") + 1
        if names > MOST:
            raise Problem(400, f"'fields' has more than {MOST} names.")
        at = 0
        while at < len(text):
            if text[at] == "," or text[at].isspace():
                at += 1
                continue
            at = _read(text, at, members, include, "", unknown)
            rest = text[at:].lstrip()
            if rest and rest[0] != ",":
                raise _malformed(text)
            at = len(text) - len(rest)
    if unknown:
        raise _unknown(unknown)
    return include


def _read(text: str, at: int, members: Members, include: Include, path: str, unknown: list[tuple[str, Members]]) -> int:
    """Read one name at ``at``, with what it has in parentheses or after a dot; gives the place after it."""
    found = _NAME.match(text, at)
    if found is None or path.count(".") > DEPTH:
        raise _malformed(text)
    name, at = found[0], found.end()
    member = members.get(name)
    if member is None:
        unknown.append((path + name, members))
        if len(unknown) == SHOWN:
            raise _unknown(unknown)
        member = Member(name, 0, {})
    follows = text[at : at + 1]
    if follows not in (".", "("):
        include[member.field] = True
        return at
    inner: Include = {}
    while True:
        at = _read(text, at + 1, member.members, inner, f"{path}{name}.", unknown)
        if follows == ".":
            break
        if text[at : at + 1] == ")":
            at += 1
            break
        if text[at : at + 1] != ",":
            raise _malformed(text)
    for _ in range(member.lists):
        inner = {EACH: inner}
    _merge(include, member.field, inner)
    return at


def _merge(include: Include, name: str, more: Include) -> None:
    known = include.setdefault(name, more)
    if known is not more and known is not True:
        for key, value in more.items():
            if value is True:
                known[key] = True
            else:
                _merge(known, key, value)


def _pattern(members: Members) -> str:
    names = []
    for name, member in members.items():
        escaped = re.escape(name)
        if not _NAME.fullmatch(name):
            continue
        if member.members:
            item = _pattern(member.members)
            escaped += rf"(?:\.(?:{item})|\((?:{item})(?:,(?:{item}))*\))?"
        names.append(escaped)
    return "|".join(names)


def _model_in(annotation: Any) -> tuple[type[BaseModel] | None, int]:
    """The one model that a value of this type is, or is a list of, within how many lists."""
    lists = 0
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
            if len(kinds) != 1:
                return None, 0
            annotation = kinds[0]
        elif origin in _LISTS and len({*get_args(annotation)} - {...}) == 1:
            annotation = get_args(annotation)[0]
            lists += 1
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return (None, 0) if issubclass(annotation, RootModel) else (annotation, lists)
        else:
            return None, 0


def _unknown(unknown: list[tuple[str, Members]]) -> Problem:
    return Problem(
        400,
        "'fields' names what this page does not have.",
        unknown=sorted({path for path, _ in unknown}),
        available=sorted(unknown[0][1]),
    )


def _malformed(text: str) -> Problem:
    return Problem(400, "'fields' is a list like 'name,price.amount,reviews(title,rating)'.", given=text[:100])
