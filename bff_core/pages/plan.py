"""A page's plan: everything about it that is known before a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from ..clients import Operation, ServiceClient

__all__ = ["Derived", "Input", "Plan", "PlannedSection"]

Getter = Callable[[list[Any]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Input:
    """A value the route gives: a declared parameter of the page, or one implied by the path."""

    name: str
    slot: int
    annotation: Any
    default: Any
    implied: bool


@dataclass(frozen=True, slots=True)
class Derived:
    """A value computed from others before a section starts: ``values[slot] = function(*get(values))``."""

    slot: int
    function: Callable[..., Any]
    get: Getter


@dataclass(frozen=True, slots=True)
class PlannedSection:
    """One section, ready to run: where its arguments stand and where its value goes."""

    index: int
    name: str
    slot: int
    operation: Operation[..., Any] | None
    function: Callable[..., Any] | None
    target: str
    required: bool
    timeout: float | None
    fallback: Any
    stale_for: float
    feeds: frozenset[str]
    relay_status: frozenset[int]
    arguments: Getter
    derived: tuple[Derived, ...]
    when: Derived | None
    allow: Derived | None
    depends_on: tuple[str, ...]
    waits_for: int
    dependents: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The compiled page.

    One list holds all values of a run: ``template`` has the constants in place, inputs and sections have their slots.
    """

    name: str
    doc: str
    sections: tuple[PlannedSection, ...]
    inputs: tuple[Input, ...]
    clients: dict[int, type[ServiceClient]]
    principal_slot: int
    context_slot: int
    template: list[Any]
    shape: Callable[..., Any]
    shape_arguments: Getter
    model: type[BaseModel]
    uses_principal: bool
    uses_context: bool = False
    optional_names: frozenset[str] = field(default_factory=frozenset)
