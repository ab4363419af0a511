"""A part of a template that comes when its sections have:
``{% deferred reviews %} … {% pending %} … {% failed %} … {% enddeferred %}``."""

from __future__ import annotations

from typing import Protocol

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from markupsafe import Markup

__all__ = ["VARIABLE", "Deferred", "Renderer", "parts_of"]

VARIABLE = "_renderer"
"""The variable of a template's context that holds the ``Renderer``."""
CONTENT, PENDING, FAILED = "deferred_", "pending_", "failed_"
_JOINT = "__"


class Renderer(Protocol):
    """Decides what stands where a deferred part is."""

    def reach(self, part: str) -> None:
        """The template has come to ``part``; it is not asked for yet."""

    def place(self, context: Context, part: str) -> Markup:
        """What stands there."""


class Deferred(Extension):
    """Compiles each part into blocks, which can be rendered when they are wanted, and calls of the renderer."""

    tags = {"deferred"}  # noqa: RUF012 - Jinja's way of declaring them

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes of one part."""
        line = next(parser.stream).lineno
        names = [parser.stream.expect("name").value]
        while parser.stream.skip_if("comma"):
            names.append(parser.stream.expect("name").value)
        part = _JOINT.join(names)
        blocks: list[nodes.Node] = []
        kind, ends = CONTENT, ("name:pending", "name:failed", "name:enddeferred")
        while True:
            body = parser.parse_statements(ends)
            blocks.append(nodes.Block(kind + part, body, False, False, lineno=line))
            end = next(parser.stream).value
            if end == "enddeferred":
                break
            kind = PENDING if end == "pending" else FAILED
        reach = self.call_method("_reach", [nodes.ContextReference(), nodes.Const(part)], lineno=line)
        place = self.call_method("_place", [nodes.ContextReference(), nodes.Const(part)], lineno=line)
        return [
            nodes.Output([reach], lineno=line),
            nodes.Output([place], lineno=line),
            # Never rendered where they stand, only looked up.
            nodes.If(nodes.Const(False), blocks, [], [], lineno=line),
        ]

    def _reach(self, context: Context, part: str) -> Markup:
        context[VARIABLE].reach(part)
        return Markup()

    def _place(self, context: Context, part: str) -> Markup:
        placed: Markup = context[VARIABLE].place(context, part)
        return placed


def parts_of(template: nodes.Template) -> dict[str, list[str]]:
    """The deferred parts of a template, each with the names of its sections."""
    names = [block.name for block in template.find_all(nodes.Block) if block.name.startswith(CONTENT)]
    return {name.removeprefix(CONTENT): name.removeprefix(CONTENT).split(_JOINT) for name in names}
