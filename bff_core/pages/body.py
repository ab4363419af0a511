"""Reading a request's body, with a cap."""

from __future__ import annotations

from starlette.types import Receive, Scope

from ..errors import ClientDisconnected, Problem

__all__ = ["read_json_body"]


async def read_json_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, at most ``limit`` bytes (413 beyond); a body that is not JSON by its type is a 415."""
    length = kind = b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = value
        elif name == b"content-type":
            kind = value
    media_type = kind.partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise Problem(415, "The body must be JSON, with 'Content-Type: application/json'.")
    if length.isdigit() and int(length[:20]) > limit:
        raise too_large(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return bytes(body)


def too_large(limit: int) -> Problem:
    """The 413 for a body of more than ``limit`` bytes."""
    return Problem(413, f"The body is larger than {limit} bytes.")
