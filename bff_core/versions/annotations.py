"""Questions about, and changes of, type annotations."""

from __future__ import annotations

from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["rebuilt", "values_of", "without_value"]


def rebuilt(annotation: Any, arguments: tuple[Any, ...]) -> Any:
    """``annotation`` with other arguments."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return Union[arguments]  # noqa: UP007 - of a tuple
    if hasattr(annotation, "__metadata__"):
        return Annotated[(arguments[0], *annotation.__metadata__)]
    return origin[arguments]


def values_of(annotation: Any) -> list[Any]:
    """Every value, as in JSON, of the literals and enumerations in ``annotation``."""
    if get_origin(annotation) is Literal:
        return [value.value if isinstance(value, Enum) else value for value in get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    return [value for argument in get_args(annotation) for value in values_of(argument)]


def without_value(annotation: Any, value: Any) -> Any:
    """The same with one value less."""
    if get_origin(annotation) is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        values = values_of(annotation)
        if value not in values:
            return annotation
        return Literal[tuple(other for other in values if other != value)]
    arguments = get_args(annotation)
    if not arguments:
        return annotation
    if hasattr(annotation, "__metadata__"):
        return rebuilt(annotation, (without_value(arguments[0], value),))
    return rebuilt(annotation, tuple(without_value(argument, value) for argument in arguments))
