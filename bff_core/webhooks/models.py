"""What endpoints look like from outside."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from .deliveries import Attempt, Delivery, State
from .endpoints import Endpoint

__all__ = [
    "AttemptOut", "Created", "DeliveryOut", "DeliveryPage", "DeliveryWithAttempts", "EndpointChange", "EndpointIn",
    "EndpointList", "EndpointOut", "PingResult", "Replay", "Replayed", "Rotate", "Rotated", "Sent", "TestEvent",
    "TypeList", "TypeOut",
]  # fmt: skip

Url = Annotated[str, Field(max_length=2048, examples=["https://partner.example/webhooks"])]
Types = Annotated[list[str], Field(min_length=1, max_length=100, examples=[["order.updated"]])]
Description = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]  # PostgreSQL has no NUL
Rate = Annotated[float, Field(ge=0.01, le=1000, description="Deliveries a second at the most.")]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndpointIn(Request):
    """``types`` are event types, or ``*``. An ``ordered`` endpoint gets one event after the other, each when the one
    before was taken. ``v1`` signs with a shared secret, ``v1a`` with a key of which you get the public half."""

    url: Url
    types: Types
    description: Description = ""
    ordered: bool = False
    rate: Rate | None = None
    signature: Literal["v1", "v1a"] = "v1"


class EndpointChange(Request):
    """What is given is changed. A new ``url`` has to be verified; ``enabled`` can only be taken away here."""

    url: Url | None = None
    types: Types | None = None
    description: Description | None = None
    rate: Rate | None = None
    enabled: Literal[False] | None = None

    @model_validator(mode="after")
    def _null_is_for_the_rate(self) -> Self:
        for name in self.model_fields_set - {"rate"}:
            if getattr(self, name) is None:
                raise ValueError(f"{name} cannot be null")
        return self


class EndpointOut(BaseModel):
    id: str
    url: str
    types: list[str]
    description: str
    version: str | None
    ordered: bool
    rate: float | None
    status: Literal["unverified", "enabled", "disabled"]
    reason: Annotated[str | None, Field(description="Why it is disabled: owner, gone, failing.")]
    created_at: datetime
    failing_since: datetime | None

    @classmethod
    def of(cls, endpoint: Endpoint, **more: Any) -> Self:
        """As it is shown."""
        return cls(
            **{name: getattr(endpoint, name) for name in ("id", "url", "description", "version", "ordered", "rate")},
            types=list(endpoint.types),
            status=endpoint.status,
            reason=endpoint.reason,
            created_at=moment(endpoint.created_at),
            failing_since=None if endpoint.failing_since is None else moment(endpoint.failing_since),
            **more,
        )


class Created(EndpointOut):
    secret: Annotated[str, Field(description="Shown now and never again. For v1a: the public key.")]


class EndpointList(BaseModel):
    items: list[EndpointOut]


class PingResult(BaseModel):
    """How the endpoint answered a ping, and what it is now."""

    ok: bool
    answer: int | None
    error: str | None
    endpoint: EndpointOut


class Rotate(Request):
    grace: Annotated[float, Field(ge=0, le=7 * 86_400, description="Seconds for which the old secret signs too.")] = (
        86_400
    )


class Rotated(BaseModel):
    secret: Annotated[str, Field(description="Shown now and never again. For v1a: the public key.")]


class TestEvent(Request):
    type: str


class Sent(BaseModel):
    event: str


class DeliveryOut(BaseModel):
    event: str
    type: str
    state: State
    reason: str | None
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery, **more: Any) -> Self:
        """As it is shown."""
        waiting = delivery.state == "pending" and delivery.due_at > 0
        return cls(
            **{name: getattr(delivery, name) for name in ("event", "type", "state", "reason", "attempts")},
            created_at=moment(delivery.created_at),
            next_attempt_at=moment(delivery.due_at) if waiting else None,
            **more,
        )


class AttemptOut(BaseModel):
    number: int
    at: datetime
    took_ms: int
    status: int | None
    error: str | None
    body: str

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """As it is shown."""
        return cls(
            number=attempt.number,
            at=moment(attempt.at),
            took_ms=attempt.took,
            status=attempt.status,
            error=attempt.error or None,
            body=attempt.body,
        )


class DeliveryWithAttempts(DeliveryOut):
    log: list[AttemptOut]


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next: str | None


class Replay(Request):
    """Send what failed, or all there was, between ``since`` and ``until`` (now) once more."""

    since: AwareDatetime
    until: AwareDatetime | None = None
    failed_only: bool = True


class Replayed(BaseModel):
    deliveries: int


class TypeOut(BaseModel):
    type: str
    description: str
    schema_: Annotated[dict[str, Any], Field(serialization_alias="schema")]
    example: Any


class TypeList(BaseModel):
    items: list[TypeOut]


def moment(milliseconds: int) -> datetime:
    """Of Unix time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
