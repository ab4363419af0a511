"""How a page is declared: a class of sections and one shape."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, overload

from ..clients import Operation
from ..errors import DeclarationError
from .plan import Plan

__all__ = ["Page", "Section", "Shape", "optional", "required", "section", "shape"]

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for one section, whatever it runs."""

    required: bool = True
    timeout: float | None = None
    fallback: Any = None
    stale_for: float = 0.0
    when: Callable[..., bool] | None = None
    allow: Callable[..., bool] | None = None
    feeds: tuple[str, ...] = ()
    relay_status: frozenset[int] = frozenset()


class Section(Generic[R]):
    """One part of a page: an operation with its arguments, or a function of the author's."""

    def __init__(self, target: Operation[..., R] | Callable[..., Any], rules: Rules, bind: dict[str, Any]) -> None:
        self.target = target
        self.rules = rules
        self.bind = bind
        self.name = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name


class Shape:
    """The function that turns the sections into what the client gets."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


def _operation(target: Any) -> None:
    if not isinstance(target, Operation):
        what = getattr(target, "__qualname__", repr(target))
        raise DeclarationError(
            f"{what} is no operation: has its method in the ServiceClient a @get(...), @post(...) or the like? "
            "What a page does itself is a method of the page with @section"
        )


def required(
    target: Operation[..., R],
    *,
    timeout: float | None = None,
    when: Callable[..., bool] | None = None,
    allow: Callable[..., bool] | None = None,
    relay_status: Collection[int] = (),
    **bind: Any,
) -> Section[R]:
    """A section without which there is no page: its failure is the page's (404, 502, 503 or 504).

    Parameters of ``target`` are bound by name, from another section, a parameter of the page or the route's path;
    ``bind`` gives a value instead, or a function whose parameter names are what it needs. ``timeout`` is in seconds.
    ``when`` (a function like those of ``bind``) says whether to run at all; ``allow`` (another) whether the principal
    may have it: unless it says True, the page is a 403. Statuses in ``relay_status`` are passed on to the client, with
    the service's own title and detail.
    """
    _operation(target)
    rules = Rules(required=True, timeout=timeout, when=when, allow=allow, relay_status=frozenset(relay_status))
    return Section(target, rules, bind)


def optional(
    target: Operation[..., R],
    *,
    timeout: float | None = None,
    fallback: Any = None,
    stale_for: float = 0.0,
    when: Callable[..., bool] | None = None,
    allow: Callable[..., bool] | None = None,
    feeds: Collection[str] = (),
    **bind: Any,
) -> Section[R]:
    """A section the page can do without: when it fails, ``_degraded`` names it, and in its place stands the last good
    value for the same arguments and the same principal if the service failed (a 4xx is an answer) and it is not older
    than ``stale_for`` seconds, else ``fallback``.

    Unless ``allow`` says True, it is left out and its fallback shown, which is no failure. ``feeds`` names the fields
    of the answer that need it, so that ``?fields=`` can leave the call out. For the rest see ``required``.
    """
    _operation(target)
    rules = Rules(
        required=False,
        timeout=timeout,
        fallback=fallback,
        stale_for=stale_for,
        when=when,
        allow=allow,
        feeds=tuple(feeds),
    )
    return Section(target, rules, bind)


@overload
def section(function: F, /) -> Section[Any]: ...
@overload
def section(
    *,
    optional: bool = ...,
    timeout: float | None = ...,
    fallback: Any = ...,
    when: Callable[..., bool] | None = ...,
    allow: Callable[..., bool] | None = ...,
    feeds: Collection[str] = ...,
) -> Callable[[F], Section[Any]]: ...
def section(
    function: Any = None,
    /,
    *,
    optional: bool = False,
    timeout: float | None = None,
    fallback: Any = None,
    when: Callable[..., bool] | None = None,
    allow: Callable[..., bool] | None = None,
    feeds: Collection[str] = (),
) -> Any:
    """A section with logic of its own: a method, ``async`` or plain, whose parameters are sections and page parameters
    (by name), service clients, the ``Principal`` and the ``RequestContext`` (by type). Required unless ``optional``."""
    if function is not None:
        return Section(function, Rules(), {})
    if fallback is not None and not optional:
        raise DeclarationError("a fallback makes sense for an optional section only: @section(optional=True, ...)")
    rules = Rules(required=not optional, timeout=timeout, fallback=fallback, when=when, allow=allow, feeds=tuple(feeds))
    return lambda decorated: Section(decorated, rules, {})


def shape(function: Callable[..., Any]) -> Shape:
    """The page's answer: a plain method whose parameters name sections and page parameters, and whose return
    annotation is the client's model. It should be pure."""
    if inspect.iscoroutinefunction(function):
        raise DeclarationError(f"shape '{function.__name__}' is async; what needs to be awaited belongs in a @section")
    return Shape(function)


class Page:
    """Base of all pages. Sections are class attributes; an annotated attribute without a section is a parameter of the
    page, taken from the query (or as ``Annotated[..., Header()]`` and the like say). What no query can carry (a model,
    a list of models, a dict) is the body; there is one at most, and it may be missing when the parameter has a default.

    A page is checked and planned when its class is made; ``DeclarationError`` names what is wrong.
    """

    plan: ClassVar[Plan]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        from .compile import compile_page  # noqa: PLC0415 - the compiler needs this module's classes

        super().__init_subclass__(**kwargs)
        cls.plan = compile_page(cls)
