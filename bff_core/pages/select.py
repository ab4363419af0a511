"""``?include=`` and ``?fields=``: what a client asks for of a page, and what need not be called then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from ..errors import Problem
from .fields import Include, members_of, read_fields
from .inputs import Query
from .plan import Plan

__all__ = ["Selection", "Selector"]


@dataclass(frozen=True, slots=True)
class Selection:
    """``sections``: the optional sections to run, None for all. ``fields``: what to answer of the model, None for all;
    ``asked``: what of an older version's answer."""

    sections: frozenset[str] | None = None
    fields: Include | None = None
    asked: Include | None = None


EVERYTHING = Selection()


class Selector:
    """Reads a page's selection from the query. Raises a 400 problem that lists what there is. An ``older`` version's
    answer has other members; ``sources`` says of which of the model each is made. Sections are called what their
    members are."""

    def __init__(
        self, plan: Plan, older: type[BaseModel] | None = None, sources: Mapping[str, Collection[str]] | None = None
    ) -> None:
        self.optional = _called(plan, sources)
        self._sections = plan.optional_names
        self._needs = {section.name: self._closure(plan, section.name) for section in plan.sections}
        members = members_of(plan.model)
        self._members = members if older is None else members_of(older, plain=True)
        self._sources = {
            name: {members[source].field for source in made_of} for name, made_of in (sources or {}).items()
        }
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
        include = self._included(query)
        fields = read_fields(query["fields"], self._members) if "fields" in query else None
        sections, asked = include, None
        if fields is not None:
            if self._sources:
                asked, fields = fields, {field: True for name in fields for field in self._sources[name]}
            useful = {n for n in self._sections if n not in self._feeds or not self._feeds[n].isdisjoint(fields)}
            sections = frozenset(useful) if include is None else include & useful
        if sections is not None:
            sections = frozenset().union(*(self._needs[name] for name in sections))
        return Selection(sections, fields, asked)

    def _included(self, query: Query) -> frozenset[str] | None:
        if "include" not in query:
            return None
        names = {name.strip() for value in query["include"] for name in value.split(",")} - {""}
        if unknown := sorted(names - self.optional.keys()):
            raise Problem(
                400,
                "'include' names what this page does not have.",
                unknown=unknown[:10],
                available=sorted(self.optional),
            )
        return frozenset().union(*(self.optional[name] for name in names))


def _called(plan: Plan, sources: Mapping[str, Collection[str]] | None) -> dict[str, frozenset[str]]:
    """The optional sections by what a version calls them. One whose member it does not have has no name in it."""
    if sources is None:
        return {name: frozenset({name}) for name in plan.optional_names}
    members = {older: plan.optional_names.intersection(made_of) for older, made_of in sources.items()}
    apart = plan.optional_names.difference(members_of(plan.model))
    return {name: found for name, found in members.items() if found} | {name: frozenset({name}) for name in apart}
