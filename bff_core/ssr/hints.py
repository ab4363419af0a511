"""What a page's template needs of its browser, told before the page is there: ``103 Early Hints`` (RFC 8297)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from jinja2 import meta, nodes
from starlette.types import Scope

__all__ = ["EARLY_HINT", "conditional", "is_hinted", "links_of"]

EARLY_HINT = "http.response.early_hint"
"""The ASGI extension, and its message."""
_SOMETIMES = (nodes.If, nodes.For)
_UNKNOWN = "\0"  # where an expression or a statement is: makes any tag that it stands in one that is not hinted
_KNOWN = frozenset({"rel", "href", "src", "type", "defer", "async"})
"""With another attribute (``media``, ``crossorigin``, ``nomodule``) a tag asks for something else than a hint says."""
_OURS = re.compile(r"/(?!/)[A-Za-z0-9._~!$&()*+=:@%/?-]*")


def links_of(template: nodes.Template) -> list[bytes]:
    """The style sheets and scripts of this origin that ``template`` names as they are, and in any case, as values of
    ``Link``."""
    found = _Links()
    found.feed(_UNKNOWN.join(_always(template)))
    return found.values


def conditional(template: nodes.Template) -> set[str | None]:
    """The templates that ``template`` has on some condition."""
    branches = template.find_all(_SOMETIMES)
    return {name for branch in branches for name in meta.find_referenced_templates(nodes.Template([branch]))}


def is_hinted(scope: Scope) -> bool:
    """Whether the server can tell the client beforehand, and who asks is a browser that opens a page. HTTP/1.0 knows no
    interim answers, and other clients gain nothing by them."""
    return (
        EARLY_HINT in (scope.get("extensions") or ())
        and scope["http_version"] != "1.0"
        and (b"sec-fetch-mode", b"navigate") in scope["headers"]
    )


def _always(node: nodes.Node) -> Iterator[str]:
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.TemplateData):
            yield child.data
        elif isinstance(child, _SOMETIMES):
            yield _UNKNOWN
        else:
            yield from _always(child)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[bytes] = []
        self._inert = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in ("noscript", "template"):
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
        if tag in ("noscript", "template"):
            self._inert -= 1

    def _add(self, url: str | None, how: str) -> None:
        if url is not None and _OURS.fullmatch(url):
            self.values.append(f"<{url}>; rel={how}".encode())
