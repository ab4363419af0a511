"""What a page's template needs of its browser, told before the page is there: ``103 Early Hints`` (RFC 8297)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser

from jinja2 import nodes
from starlette.types import Scope

__all__ = ["EARLY_HINT", "is_hinted", "links_of"]

EARLY_HINT = "http.response.early_hint"
"""The ASGI extension, and its message."""
_SOMETIMES = (nodes.If, nodes.For, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)
_INERT = frozenset({"noscript", "template", "textarea", "title", "iframe", "noembed", "noframes", "xmp"})
_UNKNOWN = "\0"  # where an expression or a statement is: makes any tag that it stands in one that is not hinted
_KNOWN = frozenset({"rel", "href", "src", "type", "defer", "async"})
"""With another attribute (``media``, ``crossorigin``, ``nomodule``) a tag asks for something else than a hint says."""
_OURS = re.compile(r"/(?!/)[A-Za-z0-9._~!$&()*+=:@%/?-]*")


Parse = Callable[[str], nodes.Template]


def links_of(name: str, parse: Parse) -> list[bytes]:
    """The style sheets and scripts of this origin that a page of the template ``name`` has as they are there, and in
    any case, as values of ``Link``. ``parse`` gives a template's tree."""
    found = _Links()
    found.feed(_UNKNOWN.join(_Rendered(parse).template(name)))
    return list(dict.fromkeys(found.values))


def is_hinted(scope: Scope) -> bool:
    """Whether the server can tell the client beforehand, and who asks is a browser that opens a page. HTTP/1.0 knows no
    interim answers, and other clients gain nothing by them."""
    return (
        EARLY_HINT in (scope.get("extensions") or ())
        and scope["http_version"] != "1.0"
        and (b"sec-fetch-mode", b"navigate") in scope["headers"]
    )


class _Rendered:
    """The text that a template puts out in any case: of what it extends with its own blocks, and of what it includes.
    ``above`` are the templates that include it."""

    def __init__(self, parse: Parse, above: frozenset[str] = frozenset()) -> None:
        self._parse = parse
        self._names = set(above)
        self._blocks: dict[str, list[nodes.Block]] = {}  # the definitions of each, the one that counts first

    def template(self, name: str) -> Iterator[str]:
        if name in self._names:
            return
        self._names.add(name)
        tree = self._parse(name)
        for block in tree.find_all(nodes.Block):
            self._blocks.setdefault(block.name, []).append(block)
        for node in tree.body:
            if isinstance(node, nodes.Extends):
                yield _UNKNOWN
                if isinstance(node.template, nodes.Const):
                    yield from self.template(node.template.value)
                return
            if next(node.find_all(nodes.Extends), None) is not None:
                return  # nobody knows what becomes of the rest
            yield from self._walk(node, "", 0)

    def _walk(self, node: nodes.Node, block: str, depth: int) -> Iterator[str]:
        if isinstance(node, nodes.TemplateData):
            yield node.data
        elif isinstance(node, _SOMETIMES):
            yield _UNKNOWN
        elif isinstance(node, nodes.Block):
            yield from self._block(node.name, 0)
        elif isinstance(node, nodes.Include):
            yield _UNKNOWN
            if isinstance(node.template, nodes.Const) and isinstance(node.template.value, str):
                yield from _Rendered(self._parse, frozenset(self._names)).template(node.template.value)
        else:
            for child in node.iter_child_nodes():
                if isinstance(node, nodes.Output) and _is_super(child):
                    yield from self._block(block, depth + 1)
                else:
                    yield from self._walk(child, block, depth)

    def _block(self, name: str, depth: int) -> Iterator[str]:
        for block in self._blocks.get(name, [])[depth : depth + 1]:
            for node in block.body:
                yield from self._walk(node, name, depth)


def _is_super(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "super"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[bytes] = []
        self._inert = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in _INERT:
            self._inert += 1
        elif self._inert or len(told) < len(attrs) or not told.keys() <= _KNOWN:
            return
        elif tag == "link" and (told.get("rel") or "").lower() == "stylesheet" and "type" not in told:
            self._add(told.get("href"), "preload; as=style")
        elif tag == "script" and told.get("type") == "module":
            self._add(told.get("src"), "modulepreload")
        elif tag == "script" and "type" not in told:
            self._add(told.get("src"), "preload; as=script")

    def handle_endtag(self, tag: str) -> None:
        if tag in _INERT:
            self._inert = max(0, self._inert - 1)

    def _add(self, url: str | None, how: str) -> None:
        if url is not None and _OURS.fullmatch(url):
            self.values.append(f"<{url}>; rel={how}".encode())
