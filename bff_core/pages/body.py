"""Reading a request's body, with a cap."""

from __future__ import annotations

import json
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from ..errors import ClientDisconnected, Problem

__all__ = ["read_form_body", "read_json_body", "read_optional_json_body"]

MAX_FIELDS = 100


async def read_json_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, at most ``limit`` bytes (413 beyond); a body that is not JSON by its type is a 415."""
    media_type = _media_type(scope)
    if media_type != b"application/json" and not (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        raise _not_json()
    return await _read(scope, receive, limit)


async def read_optional_json_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """As ``read_json_body``; no body needs no type."""
    if _media_type(scope):
        return await read_json_body(scope, receive, limit)
    body = await _read(scope, receive, limit)
    if body:
        raise _not_json()
    return body


async def read_form_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The fields of a form as a JSON object; one that comes several times is a list. Raises as ``read_json_body``."""
    if _media_type(scope) != b"application/x-www-form-urlencoded":
        raise Problem(415, "The body must be a form, with 'Content-Type: application/x-www-form-urlencoded'.")
    body = await _read(scope, receive, limit)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise Problem(400, f"The form is not valid UTF-8, or has more than {MAX_FIELDS} fields.") from None
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return json.dumps({name: values if values[1:] else values[0] for name, values in fields.items()}).encode()


def _media_type(scope: Scope) -> bytes:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    media_type: bytes = kinds[-1].partition(b";")[0].strip().lower() if kinds else b""
    return media_type


async def _read(scope: Scope, receive: Receive, limit: int) -> bytes:
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
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


def _not_json() -> Problem:
    return Problem(415, "The body must be JSON, with 'Content-Type: application/json'.")


def too_large(limit: int) -> Problem:
    """The 413 for a body of more than ``limit`` bytes."""
    return Problem(413, f"The body is larger than {limit} bytes.")
