"""A member that stands elsewhere now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from ..errors import DeclarationError
from .changes import Document, Reversible, Variant, free, there, where
from .members import Member, Members, members_of

__all__ = ["Moved"]


@dataclass(frozen=True)
class Moved(Reversible):
    """The member ``name`` stands at ``to`` now; dots lead into the objects in the members (``"price.currency"``)."""

    target: type
    name: str
    to: str = field(kw_only=True)
    _from: tuple[str, ...] = field(init=False, repr=False)
    _to: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if "." not in self.name + self.to:
            raise DeclarationError(f"{where(self)} '{self.name}': within one object that is Renamed")
        object.__setattr__(self, "_from", tuple(self.name.split(".")))
        object.__setattr__(self, "_to", tuple(self.to.split(".")))

    def __str__(self) -> str:
        return f"'{self.name}' is '{self.to}' now"

    def older(self, members: Members, variant: Variant) -> Members:
        rest, member = _take_member(self, members, self._to, variant)
        return _put_member(self, rest, self._from, member, variant)

    def sources(self) -> Mapping[str, Sequence[str]]:
        first, top = self._from[0], self._to[0]
        return {first: (top,)} if len(self._from) == 1 else {first: (top, first)}

    def to_older(self, document: Document) -> None:
        _move(document, self._to, self._from)

    def to_newer(self, document: Document) -> None:
        _move(document, self._from, self._to)


def _move(document: Document, source: Sequence[str], target: Sequence[str]) -> None:
    """Objects that become empty go; those that are missing come."""
    parents = [document]
    for name in source[:-1]:
        inner = parents[-1].get(name)
        if type(inner) is not dict:
            return
        parents.append(inner)
    if source[-1] not in parents[-1]:
        return
    value = parents[-1].pop(source[-1])
    for depth in range(len(source) - 2, -1, -1):
        if not parents[depth + 1]:
            del parents[depth][source[depth]]
    for name in target[:-1]:
        document = document.setdefault(name, {})
    document[target[-1]] = value


def _inner(change: Any, members: Members, name: str) -> type[BaseModel]:
    model = members[name].annotation
    if isinstance(model, type) and issubclass(model, BaseModel) and members[name].required:
        return model
    raise DeclarationError(f"{where(change)}: '{name}' is not always an object; say it with Replaced")


def _take_member(change: Any, members: Members, path: Sequence[str], variant: Variant) -> tuple[Members, Member]:
    name, *rest = path
    there(change, members, name)
    if not rest:
        return {key: member for key, member in members.items() if key != name}, members[name]
    model = _inner(change, members, name)
    inner, taken = _take_member(change, members_of(model), rest, variant)
    if not inner:
        return {key: member for key, member in members.items() if key != name}, taken
    return {**members, name: replace(members[name], annotation=variant(model, inner))}, taken


def _put_member(change: Any, members: Members, path: Sequence[str], member: Member, variant: Variant) -> Members:
    name, *rest = path
    if not rest:
        free(change, members, name)
        return {**members, name: member}
    if name not in members:
        empty: type[BaseModel] = type(name.title(), (BaseModel,), {})
        members = {**members, name: Member(empty)}
    model = _inner(change, members, name)
    inner = _put_member(change, members_of(model), rest, member, variant)
    return {**members, name: replace(members[name], annotation=variant(model, inner))}
