"""``?include=`` and ``?fields=``: what a client asks for of a page, and what need not be called then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import Problem
from .inputs import Query
from .plan import Plan

__all__ = ["Selection", "Selector"]


@dataclass(frozen=True, slots=True)
class Selection:
    """``sections``: the optional sections to run, None for all. ``fields``: the model's fields to answer, None for all;
    ``asked``: their names as they were asked for."""

    sections: frozenset[str] | None = None
    fields: set[str] | None = None
    asked: frozenset[str] | None = None


EVERYTHING = Selection()


class Selector:
    """Reads a page's selection from the query. Raises a 400 problem that lists what there is. ``members`` says which
    members there are and of which members of the model each is made; by default they are the model's."""

    def __init__(self, plan: Plan, members: Mapping[str, Collection[str]] | None = None) -> None:
        self._optional = plan.optional_names
        self._needs = {section.name: self._closure(plan, section.name) for section in plan.sections}
        names = {field.alias or name: name for name, field in plan.model.model_fields.items()}
        if members is None:
            members = {name: {name} for name in names}
        self._names = {name: {names[source] for source in sources} for name, sources in members.items()}
        self._fields = set(self._names)
        self._feeds = {section.name: section.feeds for section in plan.sections if section.feeds}

    @staticmethod
    def _closure(plan: Plan, name: str) -> frozenset[str]:
        by_name = {section.name: section for section in plan.sections}
        found, todo = set(), [name]
        while todo:
            current = todo.pop()
            if current not in found:
                found.add(current)
                todo += by_name[current].depends_on
        return frozenset(found)

    def read(self, query: Query) -> Selection:
        """The selection of one request."""
        if "include" not in query and "fields" not in query:
            return EVERYTHING
        include = self._names_in(query, "include", self._optional)
        fields = self._names_in(query, "fields", self._fields)
        sections = include
        if fields is not None:
            asked: set[str] = set().union(*(self._names[field] for field in fields))
            useful = {name for name in self._optional if name not in self._feeds or self._feeds[name] & asked}
            sections = frozenset(useful) if include is None else include & useful
        if sections is not None:
            sections = frozenset().union(*(self._needs[name] for name in sections))
        if fields is None:
            return Selection(sections)
        return Selection(sections, set().union(*(self._names[field] for field in fields)), fields)

    @staticmethod
    def _names_in(query: Query, parameter: str, known: frozenset[str] | set[str]) -> frozenset[str] | None:
        if parameter not in query:
            return None
        names = {name.strip() for value in query[parameter] for name in value.split(",")} - {""}
        if unknown := sorted(names - known):
            raise Problem(
                400, f"'{parameter}' names what this page does not have.", unknown=unknown[:10], available=sorted(known)
            )
        return frozenset(names)
