"""Questions about type annotations."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from ..clients import ServiceClient
from ..context import Principal, RequestContext

__all__ = ["admits_none", "fits", "is_scalar", "show"]


def is_scalar(annotation: Any) -> bool:
    """Whether a path segment could give such a value."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return all(is_scalar(arg) for arg in get_args(annotation))
    if hasattr(annotation, "__metadata__"):
        return is_scalar(annotation.__origin__)
    return (
        origin is None
        and isinstance(annotation, type)
        and not issubclass(
            annotation, (BaseModel, ServiceClient, Principal, RequestContext, dict, list, tuple, set, frozenset)
        )
    )


def admits_none(annotation: Any) -> bool:
    """Whether None is such a value."""
    if annotation is Any or annotation in (None, NoneType):
        return True
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def fits(given: Any, wanted: Any) -> bool:
    """Whether a value of type ``given`` may stand where ``wanted`` is asked; unsure means yes."""
    wanted_types = _alternatives(wanted)
    return all(
        any(_one_fits(one, other) for other in wanted_types) for one in _alternatives(given) if one is not NoneType
    )


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _one_fits(given: Any, wanted: Any) -> bool:
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not (isinstance(given_class, type) and isinstance(wanted_class, type)):
        return True
    if not issubclass(given_class, wanted_class):
        return False
    pairs = zip(get_args(given), get_args(wanted), strict=False)
    return all(fits(one, other) for one, other in pairs)


def show(annotation: Any) -> str:
    """The annotation as its author would write it."""
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
