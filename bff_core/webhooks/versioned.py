"""Webhooks in the version of the API that each endpoint was made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import Request

from ..context import current_context
from ..versions import Versions
from .events import EventType, Render, WebhookEvent, standard_body

__all__ = ["asked_version", "versioned_body"]


def versioned_body(versions: Versions, events: Sequence[EventType]) -> Render:
    """Bodies of ``events`` as the endpoint's version has their models, the newest where it has none; notices of the
    gateway's own are the same in all."""
    models = {kind.name: kind.model for kind in events}

    def render(event: WebhookEvent) -> Mapping[str, Any]:
        model = models.get(event.type)
        body = dict(standard_body(event))
        return body if model is None else versions.event(body, model, event.version or versions.head.name)

    return render


def asked_version(versions: Versions) -> Callable[[Request], str]:
    """The version that a request is for, which an endpoint that it makes is pinned to."""

    def asked(request: Request) -> str:
        return versions.resolve(request.scope, current_context(), None).name

    return asked
