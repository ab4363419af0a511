"""What a page's template needs of its browser, told before the page is there: ``103 Early Hints`` (RFC 8297)."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from jinja2 import nodes
from starlette.types import Scope

__all__ = ["EARLY_HINT", "is_hinted", "links_of"]

EARLY_HINT = "http.response.early_hint"
"""The ASGI extension, and its message."""
_OURS = re.compile(r"/(?!/)[A-Za-z0-9._~!$&()*+=:@%/?-]*")


def links_of(template: nodes.Template) -> list[bytes]:
    """The style sheets and scripts of this origin that ``template`` names as they are, as values of ``Link``."""
    found = _Links()
    for text in template.find_all(nodes.TemplateData):
        found.feed(text.data)
        found.reset()  # a tag with an expression in it is in two texts, and then not known beforehand
    return found.values


def is_hinted(scope: Scope) -> bool:
    """Whether the server can tell the client beforehand, and who asks is a browser that opens a page. HTTP/1.0 knows no
    interim answers, and other clients gain nothing by them."""
    return (
        EARLY_HINT in (scope.get("extensions") or ())
        and scope["http_version"] != "1.0"
        and (b"sec-fetch-mode", b"navigate") in scope["headers"]
    )


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[bytes] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link" and "stylesheet" in (told.get("rel") or "").lower().split():
            self._add(told.get("href"), "preload; as=style")
        elif tag == "script" and told.get("type") == "module":
            self._add(told.get("src"), "modulepreload")
        elif tag == "script":
            self._add(told.get("src"), "preload; as=script")

    def _add(self, url: str | None, how: str) -> None:
        if url is not None and _OURS.fullmatch(url):
            self.values.append(f"<{url}>; rel={how}".encode())
