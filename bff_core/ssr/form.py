"""Browsers' forms: what is done is done by a page, and then the browser is sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.types import Scope

from ..auth.oidc.return_to import safe_return
from ..auth.oidc.routes import PREFIX
from ..errors import DeclarationError
from ..pages import PageStream, Plan
from ..pages.stream import Header
from .problems import ProblemPage

__all__ = ["FormAnswer"]


class FormAnswer:
    """Sends the browser to ``then`` when the page is whole: a path of this origin, or a function of the page's answer
    that gives one. Raises ``DeclarationError``."""

    in_schema = greets = keeps = False
    form = True

    def __init__(self, plan: Plan, then: str | Callable[[Any], str], problem_page: ProblemPage) -> None:
        if isinstance(then, str) and safe_return(then, PREFIX) != then:
            raise DeclarationError(f"{plan.name}: then='{then}' is no path of this gateway")
        self._every = frozenset(range(len(plan.sections)))
        self._then = then
        self.problem_page = problem_page

    def takes(self, scope: Scope) -> bool:  # noqa: ARG002 - others look at what is accepted
        """It is a browser's."""
        return True

    def kept(self, stream: PageStream) -> tuple[bytes, bytes]:
        """It is not kept."""
        raise NotImplementedError

    def again(self, content: bytes, mark: bytes) -> tuple[bytes, list[Header]]:
        """It is not kept."""
        raise NotImplementedError

    async def deliver(self, stream: PageStream, scope: Scope) -> None:  # noqa: ARG002
        """Answer when everything has been done. Raises what a required section raised."""
        await stream.until(self._every)
        then = self._then if isinstance(self._then, str) else self._then(stream.document())
        await stream.redirect(safe_return(then, PREFIX))
