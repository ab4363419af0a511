"""The routes by which whoever receives events looks after their endpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ..context import Principal, current_context
from ..errors import Problem, Refused
from .deliveries import State
from .endpoints import PING_EVERY, Endpoint
from .models import (
    AttemptOut,
    Created,
    DeliveryOut,
    DeliveryPage,
    DeliveryWithAttempts,
    EndpointChange,
    EndpointIn,
    EndpointList,
    EndpointOut,
    PingResult,
    Replay,
    Replayed,
    Rotate,
    Rotated,
    Sent,
    TestEvent,
    TypeList,
    TypeOut,
)
from .target import parse_url

if TYPE_CHECKING:
    from .service import Webhooks

__all__ = ["Version", "owner_of", "webhooks_router"]

T = TypeVar("T")
Version = Callable[[Request], str | None]
"""The version of the API that an endpoint made by this request gets events in; None for the newest."""

Limit = Annotated[int, Query(ge=1, le=100)]
FORM = "^[A-Za-z0-9_-]{1,64}$"
Id = Annotated[str, Path(pattern=FORM)]
Cursor = Annotated[str | None, Query(pattern=FORM)]
LAST_INSTANT = 253_402_300_799.0  # the end of the year 9999


def owner_of(principal: Principal) -> str:
    """Whose a principal's endpoints are: its tenant's, or, where there is none, its own."""
    if principal.tenant is None:
        return f"{principal.issuer or ''}|{principal.subject}"
    if "|" in principal.tenant:
        raise Refused(403, "tenant_form")  # it could be taken for somebody without one
    return principal.tenant


def webhooks_router(
    webhooks: Webhooks, *, version: Version, owner: Callable[[Principal], str], dispatchers: int
) -> APIRouter:
    """Routes for ``webhooks``, which run, with so many dispatchers, as long as the app does."""

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        async with webhooks.running(dispatchers):
            yield

    api = _Api(webhooks, version, owner)
    router = APIRouter(tags=["webhooks"], lifespan=lifespan, dependencies=[Depends(_no_store)])
    add = router.add_api_route
    one, event = "/endpoints/{endpoint_id}", "/endpoints/{endpoint_id}/deliveries/{event_id}"
    add("/event-types", api.event_types, response_model=TypeList)
    add("/endpoints", api.create, methods=["POST"], status_code=201, response_model=Created)
    add("/endpoints", api.list, response_model=EndpointList)
    add(one, api.read, response_model=EndpointOut)
    add(one, api.change, methods=["PATCH"], response_model=EndpointOut)
    add(one, api.remove, methods=["DELETE"], status_code=204, response_model=None)
    add(f"{one}/verify", api.verify, methods=["POST"], response_model=PingResult)
    add(f"{one}/rotate", api.rotate, methods=["POST"], response_model=Rotated)
    add(f"{one}/test", api.test, methods=["POST"], status_code=202, response_model=Sent)
    add(f"{one}/deliveries", api.deliveries, response_model=DeliveryPage)
    add(event, api.delivery, response_model=DeliveryWithAttempts)
    add(f"{event}/replay", api.replay_one, methods=["POST"], status_code=202, response_model=Sent)
    add(f"{one}/replay", api.replay, methods=["POST"], status_code=202, response_model=Replayed)
    return router


async def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"


class _Api:
    def __init__(self, webhooks: Webhooks, version: Version, owner: Callable[[Principal], str]) -> None:
        self._webhooks = webhooks
        self._version = version
        self._owner_of = owner

    async def event_types(self) -> TypeList:
        """What there is to be told of."""
        self._owner()
        known = self._webhooks.types.known.values()
        return TypeList(
            items=[
                TypeOut(
                    type=kind.name,
                    description=kind.description,
                    schema_=kind.model.model_json_schema(),
                    example=kind.example.model_dump(mode="json"),
                )
                for kind in known
            ]
        )

    async def create(self, body: EndpointIn, request: Request) -> Created:
        """A new endpoint. Nothing is sent to it before it is verified; keep the secret, it is not shown again."""
        self._check(body.url, body.types)
        most = self._webhooks.settings.max_endpoints
        added = await self._webhooks.endpoints.add(
            self._owner(),
            body.url,
            body.types,
            most=most,
            description=body.description,
            version=self._version(request),
            ordered=body.ordered,
            rate=body.rate,
            kind=body.signature,
        )
        if added is None:
            raise Problem(409, f"There are {most} endpoints already; remove one.")
        return Created.of(added[0], secret=added[1])

    async def list(self) -> EndpointList:
        """Your endpoints, the oldest first."""
        found = await self._webhooks.endpoints.of(self._owner())
        return EndpointList(items=[EndpointOut.of(endpoint) for endpoint in found])

    async def read(self, endpoint_id: Id) -> EndpointOut:
        """One endpoint."""
        return EndpointOut.of(await self._endpoint(endpoint_id))

    async def change(self, endpoint_id: Id, body: EndpointChange) -> EndpointOut:
        """Change an endpoint. At a new URL it has to be verified; one that is disabled is enabled by verifying it."""
        self._check(body.url, body.types or [])
        changes = body.model_dump(include=body.model_fields_set)
        changed = await self._webhooks.endpoints.change(self._owner(), endpoint_id, changes)
        return EndpointOut.of(_there(changed))

    async def remove(self, endpoint_id: Id) -> None:
        """Remove an endpoint, and all that is known of it."""
        if not await self._webhooks.endpoints.remove(self._owner(), endpoint_id):
            _there(None)

    async def verify(self, endpoint_id: Id) -> PingResult:
        """Send a `webhook.ping` now; an endpoint that answers it with 2xx is enabled."""
        endpoint = await self._endpoint(endpoint_id)
        if not await self._webhooks.endpoints.may_ping(endpoint.owner, endpoint.id):
            wait = str(math.ceil(PING_EVERY / 1000))
            raise Problem(429, "It was pinged just now.", headers={"retry-after": wait})
        outcome = await self._webhooks.ping(endpoint)
        now = EndpointOut.of(await self._endpoint(endpoint_id))
        return PingResult(ok=outcome.ok, answer=outcome.status, error=outcome.error or None, endpoint=now)

    async def rotate(self, endpoint_id: Id, body: Rotate) -> Rotated:
        """A new secret. The old one signs as well for some time, so that you can change over."""
        endpoint = await self._endpoint(endpoint_id)
        return Rotated(secret=_there(await self._webhooks.endpoints.rotate(endpoint, body.grace)))

    async def test(self, endpoint_id: Id, body: TestEvent) -> Sent:
        """Send the example of an event type to this endpoint, as any other event is sent."""
        endpoint = await self._enabled(endpoint_id)
        kind = self._webhooks.types.known.get(body.type)
        if kind is None:
            raise Problem(422, f"There is no event type '{body.type[:100]}'.")
        sent = await self._webhooks.outbox.publish(kind.name, kind.example, endpoint.owner, only_for=endpoint.id)
        return Sent(event=sent)

    async def deliveries(
        self, endpoint_id: Id, state: State | None = None, cursor: Cursor = None, limit: Limit = 20
    ) -> DeliveryPage:
        """What was sent, or is to be, the newest first. `next` is the cursor of the next page."""
        endpoint = await self._endpoint(endpoint_id)
        page = await self._webhooks.log.page(endpoint.owner, endpoint.id, state=state, cursor=cursor, most=limit + 1)
        following = page[limit - 1].event if len(page) > limit else None
        return DeliveryPage(items=[DeliveryOut.of(delivery) for delivery in page[:limit]], next=following)

    async def delivery(self, endpoint_id: Id, event_id: Id) -> DeliveryWithAttempts:
        """One event, with every attempt and how the answer to it began."""
        found = await self._webhooks.log.find(self._owner(), endpoint_id, event_id)
        if found is None:
            raise Problem(404, "There is no such delivery.")
        return DeliveryWithAttempts.of(found[0], log=[AttemptOut.of(attempt) for attempt in found[1]])

    async def replay_one(self, endpoint_id: Id, event_id: Id) -> Sent:
        """Send an event once more; one that is waiting already stays as it is."""
        endpoint = await self._enabled(endpoint_id)
        if not await self._webhooks.outbox.replay_one(endpoint.id, event_id, ordered=endpoint.ordered):
            await self._enabled(endpoint_id)  # it may have been disabled or removed meanwhile
            if await self._webhooks.log.find(endpoint.owner, endpoint.id, event_id) is None:
                raise Problem(404, "There is no such delivery.")
        return Sent(event=event_id)

    async def replay(self, endpoint_id: Id, body: Replay) -> Replayed:
        """Send again what failed since an instant, or all there was, also what this endpoint never got."""
        endpoint = await self._enabled(endpoint_id)
        until = math.inf if body.until is None else body.until.timestamp()
        count = await self._webhooks.outbox.replay_range(
            endpoint.id,
            body.since.timestamp(),
            min(until, LAST_INSTANT),
            ordered=endpoint.ordered,
            failed_only=body.failed_only,
        )
        if not count:
            await self._enabled(endpoint_id)  # it may have been disabled or removed meanwhile
        return Replayed(deliveries=count)

    # Within

    def _owner(self) -> str:
        return self._owner_of(current_context().authenticated())

    async def _endpoint(self, endpoint_id: str) -> Endpoint:
        return _there(await self._webhooks.endpoints.find(self._owner(), endpoint_id))

    async def _enabled(self, endpoint_id: str) -> Endpoint:
        endpoint = await self._endpoint(endpoint_id)
        if endpoint.status != "enabled":
            raise Problem(409, f"The endpoint is {endpoint.status}; verify it first.")
        return endpoint

    def _check(self, url: str | None, types: Any) -> None:
        if url is not None:
            try:
                target = parse_url(url)
            except ValueError as error:
                raise Problem(422, f"The URL {error}.") from None
            if target.scheme == "http" and not self._webhooks.settings.allow:
                raise Problem(422, "The URL must begin with https://.")
        for kind in types:
            if kind != "*" and kind not in self._webhooks.types.known:
                raise Problem(422, f"There is no event type '{kind[:100]}'.")


def _there(found: T | None) -> T:
    """Somebody else's looks like none."""
    if found is None:
        raise Problem(404, "There is no such endpoint.")
    return found
