"""Functions that carry plain JSON data from one version to the next, made of smaller ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args, get_origin

from pydantic import BaseModel

from ..errors import DeclarationError
from .annotations import values_of
from .members import members_of

__all__ = ["Transform", "by_kind", "chain", "edited_after", "edited_before", "in_array", "in_object", "kind_of"]

Transform: TypeAlias = Callable[[Any], Any]
Inner = Sequence[tuple[str, Transform]]
Edits = Sequence[Callable[[dict[str, Any]], None]]


def chain(functions: Sequence[Transform | None]) -> Transform | None:
    """One after the other; None when there is nothing to do."""
    steps = [function for function in functions if function is not None]
    if len(steps) < 2:  # noqa: PLR2004 - a chain has two links
        return steps[0] if steps else None

    def walk(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return walk


def in_array(function: Transform | None) -> Transform | None:
    """``function`` on each item."""
    return None if function is None else lambda items: [function(item) for item in items]


def in_object(function: Transform | None) -> Transform | None:
    """``function`` on each value."""
    return None if function is None else lambda items: {key: function(value) for key, value in items.items()}


def edited_before(edits: Edits, inner: Inner, names: Sequence[str]) -> Transform | None:
    """From newer to older: the object's own changes, then those of what it holds; of its members only ``names`` go on,
    in their order (all, when there are none)."""
    if not edits and not inner:
        return None

    def lower(document: dict[str, Any]) -> dict[str, Any]:
        for edit in edits:
            edit(document)
        for name, function in inner:
            value = document.get(name)
            if value is not None:
                document[name] = function(value)
        return {name: document[name] for name in names if name in document} if names else document

    return lower


def edited_after(edits: Edits, inner: Inner, names: Sequence[str]) -> Transform | None:
    """From older to newer: what the object holds first, then itself; its members other than ``names`` are dropped."""
    if not edits and not inner:
        return None

    def lift(document: dict[str, Any]) -> dict[str, Any]:
        if names:
            document = {name: document[name] for name in names if name in document}
        for name, function in inner:
            value = document.get(name)
            if value is not None:
                document[name] = function(value)
        for edit in edits:
            edit(document)
        return document

    return lift


def by_kind(alternatives: Sequence[Any], functions: Sequence[Transform | None]) -> Transform | None:
    """The function of the alternative that a value is of, told by its kind, and objects by a member that is a different
    literal in each. Raises ``DeclarationError`` when it cannot be told."""
    if not any(functions):
        return None
    objects, arrays = (
        [(one, does) for one, does in zip(alternatives, functions, strict=True) if kind_of(one) == kind]
        for kind in ("object", "array")
    )
    if len(arrays) > 1 and any(does for _, does in arrays):
        raise DeclarationError("a member may be one of several kinds of lists, so that changes in them cannot be told")
    of_array = arrays[0][1] if arrays else None
    of_object = objects[0][1] if len(objects) == 1 else _by_tag(objects)

    def choose(value: Any) -> Any:
        kind = type(value)
        function = of_object if kind is dict else of_array if kind is list else None
        return value if function is None else function(value)

    return choose


def _by_tag(objects: Sequence[tuple[Any, Transform | None]]) -> Transform | None:
    if not any(does for _, does in objects):
        return None
    models = [one for one, _ in objects if isinstance(one, type) and issubclass(one, BaseModel)]
    members = [members_of(model) for model in models]
    for name in members[0] if len(models) == len(objects) else ():
        tags = [
            values_of(each[name].annotation) if name in each and get_origin(each[name].annotation) is Literal else []
            for each in members
        ]
        table = {tag: does for values, (_, does) in zip(tags, objects, strict=True) for tag in values}
        if all(tags) and len(table) == sum(map(len, tags)):
            return _tagged(name, table)
    raise DeclarationError(
        "a member may be one of several models, so that changes in them cannot be told apart; "
        "give each a member with a Literal of its own"
    )


def _tagged(name: str, table: Mapping[Any, Transform | None]) -> Transform:
    def choose(value: dict[str, Any]) -> Any:
        function = table.get(value.get(name))
        return value if function is None else function(value)

    return choose


def kind_of(annotation: Any) -> str:
    """What its values are in JSON: ``object``, ``array`` or else."""
    if hasattr(annotation, "__metadata__"):
        return kind_of(get_args(annotation)[0])
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type) or issubclass(origin, (str, bytes)):
        return "else"
    if issubclass(origin, (BaseModel, Mapping)):
        return "object"
    return "array" if issubclass(origin, (Sequence, set, frozenset)) else "else"
