"""Strong entity tags on every GET, and 304 for who has it already (RFC 9110 sections 8.8.3 and 13.1.2)."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["EtagMiddleware"]

OK = 200


class EtagMiddleware:
    """Tags whole answers by a digest of their body. Answers of the services are small and sent in one piece."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        start: dict[str, Any] = {}

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == OK:
                start.update(message)
                return
            if start and message["type"] == "http.response.body":
                if message.get("more_body"):
                    await send(dict(start))
                    start.clear()
                else:
                    await _send_tagged(scope, start, message, send)
                    return
            await send(message)

        await self._app(scope, receive, tagged)


async def _send_tagged(scope: Scope, start: dict[str, Any], message: Message, send: Send) -> None:
    etag = b'"%s"' % hashlib.sha256(message.get("body", b"")).hexdigest()[:24].encode()
    asked = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
    headers = [*start["headers"], (b"etag", etag), (b"cache-control", b"no-cache")]
    if asked.strip() == b"*" or etag in [tag.strip().removeprefix(b"W/") for tag in asked.split(b",")]:
        kept = [(name, value) for name, value in headers if name not in (b"content-length", b"content-type")]
        await send({"type": "http.response.start", "status": 304, "headers": kept})
        await send({"type": "http.response.body"})
        return
    await send({**start, "headers": headers})
    await send(message)
