"""Which types a query, a header or a path can carry, and which need a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import is_dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

__all__ = ["is_sequence", "is_simple", "is_text"]

_SEQUENCES = (list, tuple, set, frozenset)


def is_simple(annotation: Any) -> bool:
    """Whether it can be in a query: a text, or a sequence of texts; FastAPI draws the line there, too."""
    annotation = _plain(annotation)
    if _is_union(annotation):
        return all(is_simple(alternative) for alternative in get_args(annotation))
    if is_sequence(annotation):
        return all(is_text(item) for item in get_args(annotation))
    return is_text(annotation)


def is_text(annotation: Any) -> bool:
    """Whether one text says the whole value: numbers, dates, enums and the like, and what is not known to be more."""
    annotation = _plain(annotation)
    if _is_union(annotation):
        return all(is_text(alternative) for alternative in get_args(annotation))
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return True
    if issubclass(kind, (str, bytes)):
        return True
    return not (issubclass(kind, (BaseModel, Mapping, Sequence, Set)) or is_dataclass(kind))


def is_sequence(annotation: Any) -> bool:
    """Whether the value may come several times."""
    annotation = _plain(annotation)
    if _is_union(annotation):
        return any(is_sequence(alternative) for alternative in get_args(annotation))
    kind = get_origin(annotation) or annotation
    return isinstance(kind, type) and (issubclass(kind, _SEQUENCES) or kind in (Sequence, Set))


def _plain(annotation: Any) -> Any:
    """Without ``Annotated``, ``NewType`` and the names of ``type`` statements."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
