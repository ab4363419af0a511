"""Asking the services: an answer of a listing, an item, a write. Past every cache: a sync must see its own writes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from ..clients import BoundOperation, has_changed_nothing
from ..context import RequestContext
from ..errors import BadResponse, BffError, CallTimeout, Problem, ServiceError, UnexpectedStatus
from ..resilience import Call, CallPolicy, Request
from ..wire import WireResponse
from .declare import CURSOR, Binding, Collection, Mutation, Projection
from .view import Row

__all__ = ["Page", "Sink", "Source"]

log = structlog.get_logger("bff.sync")
NOT_FOUND = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a listing; ``rows`` is None when it is the one the tag was for."""

    rows: list[Row] | None
    following: str | None
    etag: str | None


async def send(
    bound: BoundOperation,
    policy: CallPolicy,
    context: RequestContext,
    values: list[Any],
    deadline: float,
    conditions: bytes = b"",
) -> tuple[WireResponse | None, ServiceError | None, int]:
    """The answer, or what went wrong, and how often it was sent. Raises what the template does for values that no
    request can carry."""
    target, headers, body = bound.operation.template.render(values)
    try:
        headers = context.headers + headers + await _credentials(bound, context, deadline) + conditions
    except ServiceError as error:
        return None, error, 0
    request = Request(bound.upstream.prefix + target, headers, body, conditional=bool(conditions))
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finished(_: Call) -> None:
        if not future.done():
            future.set_result(None)

    call = Call(bound.upstream, policy, request, deadline, finished)
    call.start()
    try:
        await future
    except asyncio.CancelledError:
        call.cancel()
        raise
    finally:
        if bound.operation.method != "GET" and not has_changed_nothing(call.sent, call.error):
            bound.changed(request.target)
    name = bound.upstream.name
    context.calls[name] = context.calls.get(name, 0) + call.sent
    return call.response, call.error, call.sent


async def _credentials(bound: BoundOperation, context: RequestContext, deadline: float) -> bytes:
    """What tells the service for whom it is called. Raises ``ServiceError`` when that cannot be had."""
    if bound.credentials is None:
        return b""
    principal = context.authenticated()
    ready = bound.credentials.ready(principal)
    if ready is not None:
        return ready
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await bound.credentials.obtain(principal)
    except TimeoutError:
        raise CallTimeout("credentials for the service did not come in time") from None


class Source:
    """Reads one collection for one principal, with these fields of its items."""

    def __init__(self, collection: Collection, client: Callable[[Any, str], Any]) -> None:
        self.collection = collection
        where = f"collection '{collection.name}'"
        self._listing: BoundOperation = client(collection.listing.owner, where).bound[collection.listing.name]
        self._lookup: BoundOperation | None = None
        if collection.lookup is not None:
            self._lookup = client(collection.lookup.owner, where).bound[collection.lookup.name]

    async def page(
        self,
        context: RequestContext,
        projection: Projection,
        cursor: str | None,
        etag: str | None,
        deadline: float,
    ) -> Page:
        """One answer of the listing, unless it is still the one tagged ``etag``. Raises ``ServiceError``."""
        collection = self.collection
        given = {CURSOR: cursor} if collection.paged else {}
        values = _values(collection.binding, context, {}, given)
        conditions = b"if-none-match: %s\r\n" % etag.encode("latin-1") if etag else b""
        response, error, _ = await send(self._listing, self._listing.policy, context, values, deadline, conditions)
        if response is None:
            raise error or BadResponse()
        if response.status == 304:  # noqa: PLR2004 - an HTTP status
            return Page(None, None, etag)
        items, following = collection.split(self._listing.operation.decode(response.body))
        tag = response.header(b"etag")
        return Page(_rows(projection, items), following, tag.decode("latin-1") if tag else None)

    async def find(self, context: RequestContext, projection: Projection, item_id: str, deadline: float) -> Row | None:
        """The item as it is now, None when there is none. Raises ``ServiceError``."""
        collection = self.collection
        if self._lookup is not None and collection.lookup_binding is not None:
            arguments = {collection.lookup_parameter: item_id}
            values = _values(collection.lookup_binding, context, arguments, {})
            try:
                response, error, _ = await send(self._lookup, self._lookup.policy, context, values, deadline)
            except (UnexpectedStatus, Problem):
                return None  # what no request can name is not there
            if isinstance(error, UnexpectedStatus) and error.status in NOT_FOUND:
                return None
            if response is None:
                raise error or BadResponse()
            return _rows(projection, [self._lookup.operation.decode(response.body)])[0]
        cursor: str | None = None
        asked: set[str | None] = set()
        while cursor not in asked:
            asked.add(cursor)
            page = await self.page(context, projection, cursor, None, deadline)
            row = next((row for row in page.rows or () if row.id == item_id), None)
            cursor = page.following
            if row is not None or cursor is None:
                return row
        raise BadResponse("the listing's cursors go round in a circle")


class Sink:
    """Writes one kind of mutation."""

    def __init__(self, mutation: Mutation, client: Callable[[Any, str], Any]) -> None:
        self.mutation = mutation
        operation = mutation.operation
        self._bound: BoundOperation = client(operation.owner, f"mutation '{mutation.name}'").bound[operation.name]
        # One attempt: the outbox itself sends again, and knows then that it did.
        self._policy = CallPolicy(operation.name, operation.method, self._bound.resolved.policy, idempotent=False)

    def values(self, context: RequestContext, arguments: Mapping[str, Any], key: str) -> list[Any]:
        """What the request is made of. Raises whatever the functions raise that the mutation was declared with."""
        mutation = self.mutation
        given = {mutation.key_parameter: key} if mutation.key_parameter is not None else {}
        return mutation.binding.values(context.authenticated(), arguments, given)

    async def send(
        self, context: RequestContext, values: list[Any], deadline: float
    ) -> tuple[ServiceError | None, bool]:
        """None when it was done, else what went wrong; and whether it was sent. Raises ``Problem`` for values that no
        request can carry."""
        if time.monotonic() >= deadline:
            return CallTimeout("the deadline has passed"), False
        response, error, sent = await send(self._bound, self._policy, context, values, deadline)
        if response is not None and response.body:
            # A page of HTML, with a 200, from whoever stands in between, is no word of the service. For an operation
            # that returns nothing no body is wrong: there the status alone counts, as it does for any without a body.
            try:
                self.mutation.operation.decode(response.body)
            except ServiceError as unreadable:
                error = unreadable
        return error, sent > 0


def _values(
    binding: Binding, context: RequestContext, arguments: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Any]:
    """Arguments of a call. A function that raises costs its collection, not the others and not the writes' results."""
    principal = context.authenticated()
    try:
        return binding.values(principal, arguments, given)
    except Exception as error:
        log.exception("binding.error")
        raise BadResponse(f"the arguments could not be made: {type(error).__name__}") from None


def _rows(projection: Projection, items: Any) -> list[Row]:
    try:
        return [projection.row(item) for item in items]
    except BffError:
        raise
    except Exception as error:
        log.exception("projection.error")
        raise BadResponse(f"an item could not be projected: {type(error).__name__}") from None
