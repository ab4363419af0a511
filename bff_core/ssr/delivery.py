"""A page as HTML, in one response: the shell at once, each deferred part when it comes, put in its place.

With ``?nojs``, and by a refresh without scripting, the same page comes in the order of its source: up to the first part
that is still to come, on from there when it is there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence

import structlog
from jinja2 import Template
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.types import Scope

from ..pages import PageStream, Plan
from ..pages.stream import Header
from .deferred import CONTENT, FAILED, PENDING, VARIABLE
from .hints import is_hinted
from .policy import Policy
from .problems import HTML, ProblemPage, here

__all__ = ["HtmlStreaming"]

log = structlog.get_logger("bff.ssr")
PLAIN = "nojs"
_SCRIPT = (
    "function __bff(n){var p=document.getElementById('deferred-'+n),t=document.getElementById('arrived-'+n);"
    "if(p&&t){p.replaceChildren(t.content);p.removeAttribute('aria-busy');t.remove();"
    "performance.mark('bff:'+n)}}"
)


class HtmlStreaming:
    """One page through one template. ``parts`` are the deferred ones, with their sections' indexes; ``greets`` says
    that the template shows who is signed in; ``links`` are what it needs of its browser in any case."""

    in_schema = form = False
    keeps = True

    def __init__(
        self,
        plan: Plan,
        template: Template,
        parts: Mapping[str, frozenset[int]],
        policy: Policy,
        problem_page: ProblemPage,
        *,
        greets: bool,
        links: Sequence[bytes] = (),
    ) -> None:
        self._template = template
        self.parts = parts
        self._policy = policy
        self.greets = greets
        self._links = links
        self._awaited = _awaited(plan, frozenset[int]().union(*parts.values()))
        self.problem_page = problem_page

    def takes(self, scope: Scope) -> bool:  # noqa: ARG002 - others look at what is accepted
        """A browser's page is HTML for everybody."""
        return True

    async def deliver(self, stream: PageStream, scope: Scope) -> None:
        """Send the page. Raises what a required section raised, and what rendering the shell raised, before the first
        byte; afterwards a part that cannot be rendered is left out."""
        if self._links and is_hinted(scope):
            await stream.hint(self._links)
        await stream.until(self._awaited)
        plain = _is_plain(scope["query_string"])
        rendering = _Rendering(self._template, stream, self.parts, plain=plain)
        start = [self._policy.header(rendering.nonce)]
        if plain:
            await self._in_order(rendering, stream, start)
        else:
            await self._as_it_comes(rendering, stream, start, scope["query_string"])

    def kept(self, stream: PageStream) -> tuple[bytes, bytes]:
        """The page in one piece, and its nonce."""
        rendering = _Rendering(self._template, stream, self.parts, plain=False)
        return "".join(rendering.pieces()).encode(), rendering.nonce.encode()

    def again(self, content: bytes, mark: bytes) -> tuple[bytes, list[Header]]:
        """It, with a nonce that nobody has seen. The one that goes was as little to be guessed when the page was made,
        so that it can stand nowhere but where the template put it."""
        nonce = secrets.token_urlsafe(16)
        own = [(b"content-type", HTML), (b"cache-control", b"private, no-cache"), self._policy.header(nonce)]
        return content.replace(mark, nonce.encode()), own

    async def _as_it_comes(self, rendering: _Rendering, stream: PageStream, start: list[Header], query: bytes) -> None:
        shell = "".join(rendering.pieces())
        if rendering.open:
            shell = _with_scripts(shell, rendering.nonce, query)
        end = shell.rfind("</body>")
        shell, tail = (shell[:end], shell[end:]) if end >= 0 else (shell, "")
        await stream.start(HTML, start)
        await stream.write(shell.encode())
        while rendering.open and await stream.next() is not None:
            for part in rendering.arrived():
                await stream.write(rendering.late(part).encode())
        await stream.write((_timing(stream) + tail).encode(), last=True)

    async def _in_order(self, rendering: _Rendering, stream: PageStream, start: list[Header]) -> None:
        pieces: list[str] = []
        started = False
        for piece in rendering.pieces():
            pieces.append(piece)
            if rendering.awaits is not None and not stream.settled(self.parts[rendering.awaits]):
                if not started:
                    await stream.start(HTML, start)
                    started = True
                await stream.write("".join(pieces).encode())
                pieces.clear()
                await stream.until(self.parts[rendering.awaits])
                rendering.refresh([rendering.awaits])
            rendering.awaits = None
        if not started:
            await stream.start(HTML, start)
        await stream.write("".join(pieces).encode(), last=True)


class _Rendering:
    """One response of a template. ``open`` are the parts whose place is held; ``awaits`` is the one that the template
    has come to, in order."""

    def __init__(
        self, template: Template, stream: PageStream, parts: Mapping[str, frozenset[int]], *, plain: bool
    ) -> None:
        self._stream = stream
        self._parts = parts
        self._plain = plain
        self.nonce = secrets.token_urlsafe(16)
        self.open: dict[str, Context] = {}
        self.awaits: str | None = None
        self._template = template
        self._page = stream.document()
        self._spoiled = False

    def pieces(self) -> Iterator[str]:
        """The template's text, as it is rendered."""
        variables = {
            "page": self._page,
            "inputs": self._stream.inputs(),
            "nonce": self.nonce,
            "ordered": self._plain,
            "principal": self._stream.context.principal or self._stream.context.visitor,
            "here": here(self._stream.context),
            VARIABLE: self,
        }
        return self._template.root_render_func(self._template.new_context(variables))

    def refresh(self, parts: list[str]) -> None:
        """What is rendered from now on shows what has come until now, ``parts`` among it. When nothing can be made of
        that, the page stays what it was, and its parts have failed."""
        try:
            self._page = self._stream.document()
            self._spoiled = False
        except Exception:
            log.exception("ssr.shape", page=self._stream.plan.name, request_id=self._stream.context.request_id)
            self._spoiled = True
            for part in parts:
                self._stream.degrade(self._parts[part])

    def reach(self, part: str) -> None:
        """The template has come to ``part``."""
        if self._plain:
            self.awaits = part

    def place(self, context: Context, part: str) -> Markup:
        """The part, or what holds its place."""
        if self._stream.settled(self._parts[part]):
            return self._content(context, part)
        self.open[part] = context
        holder = self._block(context, PENDING + part) if PENDING + part in context.blocks else Markup()
        return Markup('<div id="deferred-{}" aria-busy="true">{}</div>').format(part, holder)

    def arrived(self) -> list[str]:
        """The open parts all of whose sections have come; they are open no longer when they have been rendered."""
        found = [part for part in self.open if self._stream.settled(self._parts[part])]
        if found:
            self.refresh(found)
        return found

    def late(self, part: str) -> str:
        """The part, and what puts it into its place."""
        content = self._content(self.open.pop(part), part)
        return (
            f'<template id="arrived-{part}">{content}</template><script nonce="{self.nonce}">__bff("{part}")</script>\n'
        )

    def _content(self, context: Context, part: str) -> Markup:
        failed = FAILED + part
        if (self._spoiled or self._stream.failed(self._parts[part])) and failed in context.blocks:
            return self._block(context, failed)
        try:
            return self._block(context, CONTENT + part)
        except Exception:
            log.exception("ssr.part", part=part, request_id=self._stream.context.request_id)
        return self._block(context, failed) if failed in context.blocks else Markup()

    def _block(self, context: Context, name: str) -> Markup:
        context.vars["page"] = self._page
        return Markup("".join(context.blocks[name][0](context)))  # noqa: S704 - the template's own output, escaped


def _awaited(plan: Plan, deferred: frozenset[int]) -> frozenset[int]:
    """The sections that the shell waits for: all that are required, and what is neither deferred nor needed by
    deferred ones alone."""
    late = {index for index in deferred if not plan.sections[index].required}
    for section in reversed(plan.sections):
        if section.dependents and not section.required and late.issuperset(section.dependents):
            late.add(section.index)
    return frozenset(range(len(plan.sections))) - late


def _is_plain(query: bytes) -> bool:
    return any(field.partition(b"=")[0] == PLAIN.encode() for field in query.split(b"&"))


def _with_scripts(shell: str, nonce: str, query: bytes) -> str:
    """``shell`` with what moves late parts into place, and the way out for who runs no scripts."""
    again = "&".join(filter(None, (query.decode("latin-1"), PLAIN)))
    markup = Markup(
        '<noscript><meta http-equiv="refresh" content="0; url=?{}"></noscript><script nonce="{}">{}</script>\n'
    ).format(again, nonce, Markup(_SCRIPT))  # noqa: S704 - a constant
    added = str(markup)  # Markup added to text would escape that
    head, found, rest = shell.partition("</head>")
    return head + added + found + rest if found else added + shell


def _timing(stream: PageStream) -> str:
    """All timings, which the header could not have yet; names of sections are identifiers."""
    return f"<!-- Server-Timing: {escape(stream.server_timing())} -->\n"
