"""The templates of a gateway: Jinja2, with escaping that cannot be turned off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, TemplateError, meta, nodes

from ..context import RequestContext
from ..errors import DeclarationError, Problem
from ..pages import Plan
from ..pages.stream import Header
from .deferred import Deferred, parts_of
from .delivery import HtmlStreaming
from .form import FormAnswer
from .hints import links_of
from .policy import Policy
from .problems import ProblemPage

__all__ = ["Templates"]

ERROR = "error.html"


class Templates:
    """Those of one folder. ``environment`` is Jinja's, for filters and globals of one's own; ``csp`` has the directives
    of all pages that are not the usual ones."""

    def __init__(self, folder: str | Path) -> None:
        if not Path(folder).is_dir():
            raise DeclarationError(f"there is no folder of templates at '{folder}'")
        self.csp: dict[str, str] = {}
        self._shown: ProblemPage | None = None
        self.environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=[Deferred],
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def expect(self, provider: str | None) -> None:
        """Whether browsers sign in here, and where, which is where the form that signs out leads."""
        self.environment.globals["has_sessions"] = provider is not None
        if provider is not None:
            self.csp["form-action"] = f"'self' {provider}"

    def streaming(self, plan: Plan, template: str, csp: Mapping[str, str], *, hints: bool = False) -> HtmlStreaming:
        """How ``plan`` is served through ``template``, with early ``hints`` or not. Raises ``DeclarationError`` when
        that cannot be compiled, or defers what the page does not have."""
        used: set[str] = set()
        parts = self._check(template, plan.name, set(), used)
        known = {section.name: section.index for section in plan.sections}
        for names in parts.values():
            if unknown := [name for name in names if name not in known]:
                raise DeclarationError(
                    f"template '{template}' defers '{unknown[0]}', which {plan.name} does not have; it has: "
                    f"{', '.join(known)}"
                )
        indexes = {part: frozenset(known[name] for name in names) for part, names in parts.items()}
        policy = Policy({**self.csp, **csp})
        shown = ProblemPage(self._error(plan.name), policy)
        found = self.environment.get_template(template)
        links = links_of(template, self._parse) if hints else []
        return HtmlStreaming(plan, found, indexes, policy, shown, greets="principal" in used, links=links)

    def form(self, plan: Plan, then: str | Callable[[Any], str]) -> FormAnswer:
        """How a form is answered, see ``FormAnswer``; who has to sign in first is sent to ``then``, too, or home."""
        shown = ProblemPage(self._error(plan.name), Policy(self.csp), then if isinstance(then, str) else "/")
        return FormAnswer(plan, then, shown)

    def problem_page(self, problem: Problem, context: RequestContext) -> tuple[bytes, list[Header]] | None:
        """A problem of no page in particular, see ``ProblemPage``. Made when it is first needed, so that the
        environment is whole."""
        if self._shown is None:
            self._shown = ProblemPage(self._error("a problem"), Policy(self.csp), "/")
        return self._shown(problem, context)

    def _error(self, page: str) -> Template | None:
        if ERROR not in self.environment.list_templates():
            return None
        self._check(ERROR, page, set(), set())
        return self.environment.get_template(ERROR)

    def _parse(self, name: str) -> nodes.Template:
        loader = self.environment.loader
        source = loader.get_source(self.environment, name)[0] if loader is not None else ""
        return self.environment.parse(source, name)

    def _check(self, name: str, page: str, seen: set[str], used: set[str]) -> dict[str, list[str]]:
        """The deferred parts of a template and of all that it extends or includes; ``used`` gets the variables."""
        seen.add(name)
        try:
            tree = self._parse(name)
            self.environment.get_template(name)
        except TemplateError as error:
            raise DeclarationError(f"{page}: template '{name}' is not usable: {error}") from error
        if next(tree.find_all(nodes.ScopedEvalContextModifier), None) is not None:
            raise DeclarationError(
                f"{page}: template '{name}' sets autoescape, which is always on; mark single values '| safe'"
            )
        parts = parts_of(tree)
        used |= meta.find_undeclared_variables(tree)
        for other in meta.find_referenced_templates(tree):
            if other is not None and other not in seen:
                parts |= self._check(other, page, seen, used)
        return parts
