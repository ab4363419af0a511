"""The gate of a route: who is it, and may they."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from starlette.types import Scope

from ..context import Principal, RequestContext
from ..errors import DeclarationError, Refused
from .any_of import schemes_of
from .authenticator import Authenticator, depends_on_request

__all__ = ["Allow", "Gate"]

Allow = Callable[[Principal], bool]
"""A policy. Only True lets in."""


class Gate:
    """Lets in whom ``auth`` knows, who has all ``scopes``, and of whom ``allow`` says True. Raises
    ``DeclarationError`` when these make no sense."""

    __slots__ = ("_allow", "_auth", "_by_request", "scopes")

    def __init__(self, auth: Authenticator, scopes: Collection[str] = (), allow: Allow | None = None) -> None:
        if isinstance(scopes, str):
            raise DeclarationError(f"scopes='{scopes}' is one text; give a list: scopes=['{scopes}']")
        if allow is not None and inspect.iscoroutinefunction(allow):
            raise DeclarationError("allow= is async, and an awaitable is no answer; give a plain function")
        self._auth = auth
        self._by_request = depends_on_request(auth)
        self.scopes = frozenset(scopes)
        # Whatever else it says than True is a no, and no mistake of the compiled gate.
        self._allow: Callable[[Principal], Any] | None = allow

    @property
    def restricts(self) -> bool:
        """Whether being known is not enough."""
        return bool(self.scopes) or self._allow is not None

    def requirements(self, name: str) -> list[dict[str, list[str]]]:
        """The OpenAPI security requirements: one of them is to be met."""
        return [{scheme: sorted(self.scopes)} for scheme in schemes_of(self._auth, name)]

    @property
    def vary(self) -> frozenset[str]:
        """The headers that may bear the credentials, in lower case."""
        named = {
            scheme["name"].lower()
            for scheme in schemes_of(self._auth, "").values()
            if scheme["type"] == "apiKey" and scheme["in"] == "header"
        }
        return frozenset({"authorization", "cookie", *named})

    async def enter(self, scope: Scope, context: RequestContext) -> Principal:
        """The principal, who is the ``context``'s from now on. Raises ``Refused`` (401, 403), and a 503 problem when
        it cannot be told."""
        # The items of a batch have their batch's, unless who may come in depends on where to.
        principal = None if self._by_request else context.principal
        if principal is None:
            principal = await self._auth.authenticate(scope)
            if principal is None:
                raise Refused(401, "no_credentials", challenge=self._auth.challenge)
            context.principal = principal
        if not self.scopes <= principal.scopes:
            raise Refused(403, "missing_scope")
        if self._allow is not None and self._allow(principal) is not True:
            raise Refused(403, "not_allowed")
        return principal
