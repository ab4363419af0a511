"""A page as messages: ``text/event-stream`` or ``application/x-ndjson``, to who asks for that.

The first message has the document with everything that is required, the following ones a section each with the
members of the document that it changed, the last says what degraded. All of them laid over one another, the document
is that of one JSON answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from pydantic_core import PydanticSerializationError, to_json
from starlette.types import Scope

from ..context import RequestContext
from ..errors import ClientDisconnected, DeclarationError, Problem
from .failure import undeclared
from .plan import Plan
from .stream import Header, PageStream

__all__ = ["EVENT_STREAM", "NDJSON", "MessageStreaming", "preferred"]

log = structlog.get_logger("bff.pages")
JSON, EVENT_STREAM, NDJSON = "application/json", "text/event-stream", "application/x-ndjson"
_END = "end"


def preferred(accept: str) -> str:
    """Which of the three an ``Accept`` (RFC 9110 section 12.5.1) asks for; JSON unless another is named and JSON is not
    liked better."""
    weights = {JSON: 0.0, EVENT_STREAM: 0.0, NDJSON: 0.0}
    for entry in accept.lower().split(","):
        media_type, *parameters = (part.strip() for part in entry.split(";"))
        if media_type in weights:
            weights[media_type] = _weight(parameters)
    return max(weights, key=weights.__getitem__)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


class MessageStreaming:
    """The messages of one page. ``fields`` of a request hold here as in one document."""

    problem_page: Callable[[Problem, RequestContext], tuple[bytes, list[Header]] | None] | None = None
    in_schema = True
    form = greets = keeps = False

    def __init__(self, plan: Plan) -> None:
        if plan.model.__pydantic_root_model__:
            raise DeclarationError(f"{plan.name}: only an answer with members can be streamed, not a root model")
        self._required = [section.index for section in plan.sections if section.required]
        self._to_python = plan.model.__pydantic_serializer__.to_python

    def takes(self, scope: Scope) -> bool:
        """Whether the client likes messages better than one document."""
        return preferred(_header(scope, b"accept")) != JSON

    def kept(self, stream: PageStream) -> tuple[bytes, bytes]:
        """It is not kept."""
        raise NotImplementedError

    def again(self, content: bytes, mark: bytes) -> tuple[bytes, list[Header]]:
        """It is not kept."""
        raise NotImplementedError

    async def deliver(self, stream: PageStream, scope: Scope) -> None:
        """Send the messages. What goes wrong after the first is told by the last."""
        events = preferred(_header(scope, b"accept")) == EVENT_STREAM
        if events and _header(scope, b"last-event-id") == _END:
            # An EventSource comes back when a stream ends; only this stops it (HTML Living Standard section 9.2).
            await stream.nothing()
            return
        content_type = EVENT_STREAM if events else NDJSON
        encode = _event if events else _line
        await stream.until(self._required)
        stream.skim()
        sent = self._members(stream)
        first = {"data": sent, "pending": stream.pending, "hasNext": True}
        await stream.start(content_type.encode(), [(b"vary", b"accept")])
        await stream.write(encode("page", 0, first))
        error = None
        try:
            number = 0
            while (section := await stream.next()) is not None:
                number += 1
                members = self._members(stream)
                changed = {name: value for name, value in members.items() if name not in sent or sent[name] != value}
                sent = members
                message = {"section": section.name, "data": changed, "hasNext": True}
                await stream.write(encode("section", number, message))
        except ClientDisconnected:
            raise
        except Exception as failure:
            log.exception("stream.error", page=stream.plan.name, request_id=stream.context.request_id)
            error = failure if isinstance(failure, Problem) else Problem(500, "Something went wrong here.")
        last: dict[str, Any] = {"degraded": stream.degraded, "timing": stream.timing(), "hasNext": False}
        if error is not None:
            last["error"] = {"title": error.title, "status": error.status, "detail": error.detail}
        await stream.write(encode("end", _END, last), last=True)

    def _members(self, stream: PageStream) -> dict[str, Any]:
        try:
            members: dict[str, Any] = self._to_python(
                stream.document(), mode="json", include=stream.fields, by_alias=True, warnings="error"
            )
        except PydanticSerializationError as error:
            raise undeclared(stream.plan, error)  # noqa: B904 - it has its cause
        return members


def _header(scope: Scope, name: bytes) -> str:
    return ",".join(value.decode("latin-1") for found, value in scope["headers"] if found == name)


def _line(_kind: str, _number: int | str, message: dict[str, Any]) -> bytes:
    return to_json(message) + b"\n"


def _event(kind: str, number: int | str, message: dict[str, Any]) -> bytes:
    # JSON has no line breaks outside its strings, and none unescaped within them.
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), str(number).encode(), to_json(message))
