"""One step back in the history: from a model of one version to the same of the version before, and the functions that
carry plain JSON data from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from ..errors import DeclarationError
from .annotations import rebuilt
from .changes import Change
from .members import Member, make_model, members_of
from .walk import Transform, by_kind, edited_after, edited_before, in_array, in_object, kind_of

__all__ = ["Lineage", "Older", "Step"]

Model = type[BaseModel]
ITEMS_AND_ELLIPSIS = 2


@dataclass(frozen=True, slots=True)
class Older:
    """A type as it was a version before. ``down`` and ``up`` carry data there and back, None when nothing changes;
    ``sources`` says which newer members each member of a model is made of. ``irreversible`` says why requests cannot go
    up."""

    annotation: Any
    down: Transform | None = None
    up: Transform | None = None
    irreversible: str | None = None
    sources: Mapping[str, frozenset[str]] | None = None


class Lineage:
    """Which model of the head each derived one comes from, and which are forms of it for one place only."""

    def __init__(self) -> None:
        self._origins: dict[Model, Model] = {}
        self.variants: set[Model] = set()

    def of(self, model: Model) -> Model:
        """The head's model."""
        return self._origins.get(model, model)

    def make(self, like: Model, members: Mapping[str, Member]) -> Model:
        """``like`` with other members."""
        model = make_model(like, members)
        self._origins[model] = self.of(like)
        if like in self.variants:
            self.variants.add(model)
        return model

    def variant(self, like: Model, members: Mapping[str, Member]) -> Model:
        """``like`` as it is in one place. Changes of members that it does not have there do not concern it."""
        model = self.make(like, members)
        self.variants.add(model)
        return model


class Step:
    """The changes that made the version ``name`` out of the one before."""

    def __init__(self, name: str, changes: Iterable[Change], lineage: Lineage) -> None:
        self._name = name
        self._lineage = lineage
        self._changes: dict[type, list[Change]] = {}
        for change in changes:
            self._changes.setdefault(change.target, []).append(change)
        self._known: dict[Model, Older] = {}
        self._open: dict[Model, str] = {}
        self._loops: dict[str, Model] = {}
        self._unfinished: list[Model] = []

    def older(self, newer: Model) -> Older:
        """``newer`` a version before. Raises ``DeclarationError``."""
        found = self._known.get(newer)
        if found is None:
            found = self._known[newer] = self._derive(newer) if self._concerns(newer, set()) else Older(newer)
        return found

    def _concerns(self, annotation: Any, seen: set[Model]) -> bool:
        """Whether something in it has changed."""
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return any(self._concerns(argument, seen) for argument in get_args(annotation))
        if annotation in seen:
            return False
        seen.add(annotation)
        return self._lineage.of(annotation) in self._changes or any(
            self._concerns(member.annotation, seen) for member in members_of(annotation).values()
        )

    def _derive(self, newer: Model) -> Older:
        members = members_of(newer)
        sources = {name: frozenset({name}) for name in members}
        changes: list[Change] = []
        why: str | None = None
        for change in reversed(self._changes.get(self._lineage.of(newer), ())):
            try:
                before = change.older(members, self._lineage.variant)
            except DeclarationError as error:
                if newer in self._lineage.variants:
                    continue
                raise DeclarationError(f"version {self._name}: {error}") from None
            why = why or change.irreversible(members)
            given = change.sources()
            sources = {
                name: frozenset().union(*(sources.get(other, frozenset()) for other in given[name]))
                if name in given
                else sources[name]
                for name in before
            }
            members = before
            changes.append(change)
        self._open[newer] = f"Loop{len(self._known)}x{len(self._open)}"
        inner = {name: self.type_before(member.annotation) for name, member in members.items() if member.carried}
        older = {
            name: replace(member, annotation=inner[name].annotation if name in inner else member.annotation)
            for name, member in members.items()
        }
        model = self._lineage.make(newer, older)
        self._finish(newer, model)
        names = tuple(members) if changes and newer.model_config.get("extra") != "allow" else ()
        return Older(
            model,
            edited_before(
                [change.to_older for change in changes], [(n, x.down) for n, x in inner.items() if x.down], names
            ),
            edited_after(
                [change.to_newer for change in reversed(changes)], [(n, x.up) for n, x in inner.items() if x.up], names
            ),
            why or next((x.irreversible for x in inner.values() if x.irreversible), None),
            sources,
        )

    def _finish(self, newer: Model, model: Model) -> None:
        """Have references to models that were not finished lead to them, once all are."""
        self._loops[self._open.pop(newer)] = model
        self._unfinished.append(model)
        if not self._open:
            for each in self._unfinished:
                each.model_rebuild(_types_namespace=self._loops)
            self._unfinished.clear()
            self._loops.clear()

    def type_before(self, annotation: Any) -> Older:
        """Any type, with the models in it a version before. Raises ``DeclarationError``."""
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self._loop(annotation) if annotation in self._open else self.older(annotation)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if not arguments or origin is Literal or not self._concerns(annotation, set()):
            return Older(annotation)
        if hasattr(annotation, "__metadata__"):
            part = self.type_before(arguments[0])
            return replace(part, annotation=rebuilt(annotation, (part.annotation,)))
        parts = [self.type_before(argument) for argument in arguments]
        older = [part.annotation for part in parts]
        why = next((part.irreversible for part in parts if part.irreversible), None)
        whole = rebuilt(annotation, tuple(older))
        downs, ups = [part.down for part in parts], [part.up for part in parts]
        if origin in (Union, UnionType):
            return Older(whole, by_kind(arguments, downs), by_kind(older, ups), why)
        kind = kind_of(annotation)
        if kind == "array" and (len(parts) == 1 or (len(parts) == ITEMS_AND_ELLIPSIS and arguments[1] is ...)):
            return Older(whole, in_array(downs[0]), in_array(ups[0]), why)
        if kind == "object":
            return Older(whole, in_object(downs[-1]), in_object(ups[-1]), why)
        raise DeclarationError(f"version {self._name}: changes of what is in {annotation} cannot be followed")

    def _loop(self, model: Model) -> Older:
        """A reference to a model that holds it."""

        def down(value: Any) -> Any:
            function = self._known[model].down
            return value if function is None else function(value)

        def up(value: Any) -> Any:
            function = self._known[model].up
            return value if function is None else function(value)

        return Older(ForwardRef(self._open[model]), down, up)
