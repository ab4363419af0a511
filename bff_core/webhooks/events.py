"""Event types: declared with models, documented, and rendered as each endpoint's version of the API has them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, create_model
from starlette.routing import BaseRoute

from ..errors import DeclarationError
from ..versions import Versions

__all__ = ["EventType", "EventTypes", "Render", "WebhookEvent", "standard_body"]

NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
RESERVED = "webhook."
Reason = Literal["failing", "gone"]


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened: ``data`` is its model as JSON, as the newest version has it; ``version`` is that of the
    endpoint it is for, None for the newest."""

    id: str
    type: str
    created_at: datetime
    data: Mapping[str, Any]
    version: str | None = None


Render = Callable[[WebhookEvent], Mapping[str, Any]]
"""The body of the webhook for an event, as its ``version`` promised it. Pure: it may be called again for every
attempt, and must then give the same."""


def standard_body(event: WebhookEvent) -> Mapping[str, Any]:
    """``type``, ``timestamp`` and ``data``, as Standard Webhooks recommends; ``api_version`` when there is one."""
    body: dict[str, Any] = {"type": event.type, "timestamp": timestamp(event.created_at)}
    if event.version is not None:
        body["api_version"] = event.version
    return {**body, "data": event.data}


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class EventType:
    """``name`` (``order.updated``), the model of its data, one line of what it says, and an example: what documents
    show and test events carry."""

    name: str
    model: type[BaseModel]
    description: str
    example: BaseModel

    def __post_init__(self) -> None:
        if NAME.fullmatch(self.name) is None:
            raise DeclarationError(f"'{self.name}' is no event type; call it like order.updated")
        if not isinstance(self.example, self.model):
            raise DeclarationError(f"the example of '{self.name}' is no {self.model.__name__}")


class Ping(BaseModel):
    """Nothing happened; the endpoint is asked whether it is there."""

    endpoint: str


class EndpointTrouble(BaseModel):
    """``failing_since`` is when the first of the deliveries failed that have all failed since."""

    endpoint: str
    url: str
    failing_since: datetime | None
    reason: Reason


_TROUBLE = EndpointTrouble(
    endpoint="ep_1",
    url="https://partner.example/hooks",
    failing_since=datetime(2026, 11, 1, tzinfo=UTC),
    reason="failing",
)
PING = EventType("webhook.ping", Ping, "Asks whether an endpoint is there.", Ping(endpoint="ep_1"))
FAILING = EventType("webhook.endpoint_failing", EndpointTrouble, "Everything sent to another endpoint fails.", _TROUBLE)
DISABLED = EventType("webhook.endpoint_disabled", EndpointTrouble, "Another endpoint was disabled.", _TROUBLE)


@dataclass(frozen=True, slots=True)
class EventTypes:
    """All there are, by name; ``render`` makes bodies."""

    render: Render = standard_body
    known: dict[str, EventType] = field(default_factory=lambda: {kind.name: kind for kind in (FAILING, DISABLED)})

    def add(self, kind: EventType) -> None:
        """Raises ``DeclarationError`` for a second of the same name."""
        if kind.name.startswith(RESERVED) or kind.name in self.known:
            raise DeclarationError(f"there is an event type '{kind.name}' already, or it begins with '{RESERVED}'")
        self.known[kind.name] = kind

    def body(self, event: WebhookEvent) -> bytes:
        """What is sent."""
        return json.dumps(self.render(event), ensure_ascii=False, separators=(",", ":")).encode()

    def routes(self, versions: Versions | None = None, version: str | None = None) -> list[BaseRoute]:
        """Every type for the ``webhooks`` of an OpenAPI document, as ``version`` has them."""
        router = APIRouter()
        for kind in [*self.known.values(), PING]:
            if versions is None or version is None or kind.name.startswith(RESERVED):
                model, example = kind.model, _example(kind)
            else:
                model = versions.at(kind.model, version).model
                example = versions.event(_example(kind), kind.model, version)
            router.add_api_route(
                kind.name,
                _receiver(kind, model, example),
                methods=["POST"],
                status_code=204,
                summary=kind.description,
                operation_id=f"webhook_{kind.name.replace('.', '_')}",
            )
        return router.routes


def _receiver(kind: EventType, model: type[BaseModel], example: Any) -> Callable[..., None]:
    title = "".join(part.title() for part in re.split(r"[._]", kind.name)) + "Event"
    name: Any = Literal[kind.name]
    body = create_model(
        title,
        type=(name, ...),
        timestamp=(datetime, ...),
        api_version=(str | None, None),
        data=(model, ...),
        __config__=ConfigDict(json_schema_extra={"examples": [example]}),
    )

    def receive(event: Any) -> None:
        """Answer 2xx within 15 seconds; anything else is sent again."""

    receive.__annotations__["event"] = body
    return receive


def _example(kind: EventType) -> Any:
    data = kind.example.model_dump(mode="json")
    return dict(standard_body(WebhookEvent("msg_1", kind.name, datetime(2026, 11, 1, tzinfo=UTC), data)))
