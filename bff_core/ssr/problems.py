"""Problems as pages, for who looks at them in a browser."""

from __future__ import annotations

import secrets
from urllib.parse import quote

import structlog
from jinja2 import Template

from ..context import RequestContext
from ..errors import Problem
from ..pages.stream import Header
from .policy import Policy

__all__ = ["HTML", "ProblemPage", "here"]

log = structlog.get_logger("bff.ssr")
HTML = b"text/html; charset=utf-8"


class ProblemPage:
    """Shows problems by ``template``, None to leave them documents; ``back`` is where who has to sign in first goes on
    afterwards, by default where they are."""

    def __init__(self, template: Template | None, policy: Policy, back: str | None = None) -> None:
        self._template = template
        self._policy = policy
        self._back = back

    def __call__(self, problem: Problem, context: RequestContext) -> tuple[bytes, list[Header]] | None:
        """Body and headers of the answer; None to leave it a document."""
        if self._template is None:
            return None
        nonce = secrets.token_urlsafe(16)
        back = self._back or here(context)
        login = problem.extensions.get("login") if problem.status == 401 else None  # noqa: PLR2004 - an HTTP status
        mark = "&" if "?" in str(login) else "?"
        variables = {
            "problem": problem,
            "request_id": context.request_id,
            "nonce": nonce,
            "principal": context.principal or context.visitor,
            "here": back,
            "sign_in": None if login is None else f"{login}{mark}return_to={quote(back, safe='')}",
        }
        try:
            body = self._template.render(variables)
        except Exception:
            log.exception("ssr.error_page", request_id=context.request_id)
            return None
        return body.encode(), [(b"content-type", HTML), self._policy.header(nonce)]


def here(context: RequestContext) -> str:
    """The path and query that were asked for, as they stand in an address."""
    scope = context.scope
    if scope is None:
        return "/"
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"], safe="/:@!$&'()*+,;=~") + (f"?{query}" if query else "")
