"""Webhooks as a gateway has them: event types, a store, dispatchers."""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI, Request
from pydantic import BaseModel

from ..context import Principal
from ..errors import DeclarationError
from ..stores import sql_engine
from ..versions import Versions
from .connector import Connector, Outcome, Resolve
from .events import PING, EventType, EventTypes, Render, WebhookEvent, standard_body
from .settings import WebhookSettings
from .signing import Signer
from .versioned import asked_version, versioned_body

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from .dispatcher import Dispatcher
    from .endpoints import Endpoint

__all__ = ["Webhooks"]

log = structlog.get_logger("bff.webhooks")


class Webhooks:
    """The events that a gateway tells others of. ``render`` makes a webhook's body of an event, as its endpoint's
    version has it; with the ``versions`` of the API that is their work.
    ``resolve``, ``ssl_context`` and ``clock`` (Unix time in seconds) are the system's by default.

    Raises ``DeclarationError`` for event types that are wrong, ``SettingsError``, and ``ImportError`` when the extra
    is not installed.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        events: Sequence[EventType],
        render: Render | None = None,
        versions: Versions | None = None,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        if render is None:
            render = standard_body if versions is None else versioned_body(versions, events)
        self.types = EventTypes(render)
        self._versions = versions
        for kind in events:
            self.types.add(kind)
        self.engine = sql_engine(settings.url)
        # What follows needs SQLAlchemy, which the line before has asked for.
        from .deliveries import Log  # noqa: PLC0415
        from .endpoints import Endpoints  # noqa: PLC0415
        from .lane import Courier  # noqa: PLC0415
        from .outbox import Outbox  # noqa: PLC0415

        sealer = settings.sealer()
        self._clock = clock
        self._dispatchers: list[Dispatcher] = []
        self.endpoints = Endpoints(self.engine, sealer, clock)
        self.log = Log(self.engine)
        self.outbox = Outbox(self.engine, self.types, max_event=settings.max_event, clock=clock, wake=self.wake)
        self._connector = Connector(
            allow=settings.allow,
            timeout=settings.timeout,
            connections=settings.concurrency,
            resolve=resolve,
            ssl_context=ssl_context,
        )
        self._courier = Courier(self._connector, self.types, sealer, clock)

    async def prepare(self) -> None:
        """Bring the database up to date."""
        from .schema import prepare  # noqa: PLC0415 - an extra

        await prepare(self.engine)

    async def publish(
        self,
        kind: str,
        data: BaseModel,
        *,
        to: str,
        event_id: str | None = None,
        connection: AsyncConnection | None = None,
    ) -> str:
        """Tell every endpoint of the owner ``to`` (a tenant, or what ``owner_of`` says) that wants events of ``kind``;
        the event's id.

        Once this returns, the event is in the database. Given the ``connection`` of a transaction, it is there if and
        only if that is committed. ``event_id`` (1 to 64 letters, digits, ``_`` and ``-``) makes telling the same twice
        harmless. Raises ``ValueError`` for data that is not the type's, or too large, and what SQLAlchemy raises.
        """
        return await self.outbox.publish(kind, data, to, event_id=event_id, connection=connection)

    async def ping(self, endpoint: Endpoint) -> Outcome:
        """Ask ``endpoint`` whether it is there; enable it if it is."""
        event = WebhookEvent(
            f"msg_{secrets.token_hex(16)}",
            PING.name,
            datetime.fromtimestamp(self._clock(), UTC),
            {"endpoint": endpoint.id},
            endpoint.version,
        )
        signer = Signer(await self.endpoints.secrets(endpoint.id))
        body = self.types.body(event)
        outcome = await self._courier.send(endpoint.id, endpoint.url, event.id, body, signer)
        if outcome.ok:
            await self.endpoints.enable(endpoint)
        return outcome

    def mount(
        self,
        app: FastAPI,
        path: str = "/webhooks",
        *,
        dispatchers: int = 1,
        version: Callable[[Request], str | None] | None = None,
        owner: Callable[[Principal], str] | None = None,
    ) -> None:
        """Let ``app``'s principals look after their endpoints under ``path``, document every event type, and run with
        the app, with so many dispatchers in each of its processes.

        ``version`` says of a request which version of the API the endpoint it makes gets its events in; by default,
        where there are versions, it is the one that the request is for. ``owner`` is
        ``owner_of`` by default: endpoints are the tenant's, or the principal's own. Raises ``DeclarationError`` when
        the gateway has no authentication.
        """
        from .api import owner_of, webhooks_router  # noqa: PLC0415 - an extra

        if getattr(app, "auth", None) is None:
            raise DeclarationError(
                f"the webhooks at '{path}' are somebody's, but '{app.title}' has no authentication: "
                "give create_bff(auth=...)"
            )

        if version is None:
            version = (lambda _: None) if self._versions is None else asked_version(self._versions)
        app.webhooks.routes += self.types.routes()
        if self._versions is not None and hasattr(app, "webhooks_of"):
            app.webhooks_of = partial(self.types.routes, self._versions)
        router = webhooks_router(self, version=version, owner=owner or owner_of, dispatchers=dispatchers)
        app.include_router(router, prefix=path)

    def dispatcher(self) -> Dispatcher:
        """Another one, to ``run``."""
        from .dispatcher import Dispatcher  # noqa: PLC0415 - an extra
        from .queue import Queue  # noqa: PLC0415

        settings = self.settings
        queue = Queue(
            self.engine,
            self.outbox,
            lease=settings.timeout + 2 * settings.turn,
            batch=settings.batch,
            failing_batch=settings.concurrency,
            warn_after=settings.warn_after,
            disable_after=settings.disable_after,
            clock=self._clock,
        )
        made = Dispatcher(queue, self._courier, settings, self._clock)
        self._dispatchers.append(made)
        return made

    @asynccontextmanager
    async def running(self, dispatchers: int = 1) -> AsyncIterator[None]:
        """With the database up to date and so many dispatchers at work; closed at the end."""
        tasks: list[asyncio.Task[Any]] = []
        try:
            await self.prepare()
            for _ in range(dispatchers):
                tasks.append(asyncio.create_task(self.dispatcher().run()))
                tasks[-1].add_done_callback(_report)
            yield
        finally:
            for dispatcher in self._dispatchers:
                dispatcher.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._connector.aclose()
        await self.engine.dispose()

    def wake(self) -> None:
        """Something is due: what was published with a ``connection`` of the caller's is not looked for before ``poll``
        else."""
        for dispatcher in self._dispatchers:
            dispatcher.wake()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("webhook.dispatcher_failed", exc_info=error)
