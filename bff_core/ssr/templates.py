"""The templates of a gateway: Jinja2, with escaping that cannot be turned off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, meta, nodes

from ..errors import DeclarationError
from ..pages import Plan
from .deferred import Deferred, parts_of
from .delivery import HtmlStreaming

__all__ = ["Templates"]


class Templates:
    """Those of one folder. ``environment`` is Jinja's, for filters and globals of one's own."""

    def __init__(self, folder: str | Path) -> None:
        if not Path(folder).is_dir():
            raise DeclarationError(f"there is no folder of templates at '{folder}'")
        self.environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=[Deferred],
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def streaming(self, plan: Plan, template: str, csp: Mapping[str, str]) -> HtmlStreaming:
        """How ``plan`` is served through ``template``. Raises ``DeclarationError`` when that cannot be compiled, or
        defers what the page does not have."""
        parts = self._check(template, plan.name, set())
        known = {section.name: section.index for section in plan.sections}
        for names in parts.values():
            if unknown := [name for name in names if name not in known]:
                raise DeclarationError(
                    f"template '{template}' defers '{unknown[0]}', which {plan.name} does not have; it has: "
                    f"{', '.join(known)}"
                )
        indexes = {part: frozenset(known[name] for name in names) for part, names in parts.items()}
        error = "error.html"
        if error in self.environment.list_templates():
            self._check(error, plan.name, set())
            shown = self.environment.get_template(error)
        else:
            shown = None
        return HtmlStreaming(plan, self.environment.get_template(template), shown, indexes, csp)

    def _check(self, name: str, page: str, seen: set[str]) -> dict[str, list[str]]:
        """The deferred parts of a template and of all that it extends or includes."""
        seen.add(name)
        loader = self.environment.loader
        try:
            source = loader.get_source(self.environment, name)[0] if loader is not None else ""
            tree = self.environment.parse(source, name)
            self.environment.get_template(name)
        except TemplateError as error:
            raise DeclarationError(f"{page}: template '{name}' is not usable: {error}") from error
        if next(tree.find_all(nodes.ScopedEvalContextModifier), None) is not None:
            raise DeclarationError(
                f"{page}: template '{name}' sets autoescape, which is always on; mark single values '| safe'"
            )
        parts = parts_of(tree)
        for other in meta.find_referenced_templates(tree):
            if other is not None and other not in seen:
                parts |= self._check(other, page, seen)
        return parts
