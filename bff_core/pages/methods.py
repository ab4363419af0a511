"""Methods a path does not have: HEAD where there is a GET page (RFC 9110 section 9.3.2), and what ``Allow`` lists."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Message, Scope, Send

__all__ = ["allowed_methods", "without_body"]


def allowed_methods(scope: Scope, routes: Iterable[BaseRoute]) -> str:
    """Every method that the request's path knows, over all routes, for ``Allow`` (RFC 9110 section 10.2.1)."""
    found: set[str] = set()
    for route in routes:
        methods: Iterable[str] = getattr(route, "methods", None) or ()
        if route.matches(scope)[0] is not Match.NONE:
            found.update(methods)
            if "GET" in found and getattr(route, "answers_head", False):
                found.add("HEAD")
    return ", ".join(sorted(found))


def without_body(send: Send) -> Send:
    """``send`` for the answer to a HEAD: all of it but the content."""

    async def bodiless(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
        await send(message)

    return bodiless
