"""Outages on request: ``PUT /_faults``, and a count of what was asked. One ASGI middleware."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import Problem, send_problem

__all__ = ["Faults", "FaultsMiddleware", "Stats", "add_fault_routes"]


class Faults(BaseModel):
    """What is to go wrong: delay and its spread in milliseconds, the share of 500s, everything a 503."""

    model_config = ConfigDict(extra="forbid")

    latency_ms: Annotated[float, Field(ge=0, le=60_000)] = 0
    jitter_ms: Annotated[float, Field(ge=0, le=60_000)] = 0
    error_rate: Annotated[float, Field(ge=0, le=1)] = 0
    down: bool = False


class Stats(BaseModel):
    """Requests since the start or the last reset, in all and by route."""

    requests: int
    by_route: dict[str, int]


class State:
    """What the middleware and the routes share."""

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self.faults = Faults()
        self.counts: Counter[str] = Counter()

    def require(self) -> None:
        """Refuse when the service was not started with ``--faults``."""
        if not self.allowed:
            raise Problem(403, "Start the service with --faults to play an outage.")


class FaultsMiddleware:
    """Counts requests and makes them fail as told. Its own routes always work."""

    def __init__(self, app: ASGIApp, *, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self._app(scope, receive, send)
            return
        faults = self._state.faults
        if scope["path"] != "/health":
            # The route is known when the app is done; a request that fails here counts under its path.
            if await self._fails(faults, scope, receive, send):
                return
            try:
                await self._app(scope, receive, send)
            finally:
                route = scope.get("route")
                self._state.counts[f"{scope['method']} {getattr(route, 'path', scope['path'])}"] += 1
        elif faults.down:
            await send_problem(Problem(503, "Played outage."), send, close=True)
        else:
            await self._app(scope, receive, send)

    async def _fails(self, faults: Faults, scope: Scope, receive: Receive, send: Send) -> bool:
        if faults.latency_ms or faults.jitter_ms:
            spread = faults.jitter_ms * (2 * random.random() - 1)  # noqa: S311 - plays a network
            await asyncio.sleep(max(0.0, faults.latency_ms + spread) / 1000)
        if faults.down:
            problem = Problem(503, "Played outage.")
        elif faults.error_rate and random.random() < faults.error_rate:  # noqa: S311 - plays a bug
            problem = Problem(500, "Played error.")
        else:
            return False
        self._state.counts[f"{scope['method']} {scope['path']}"] += 1
        await _drain(receive)
        await send_problem(problem, send, close=faults.down)
        return True


async def _drain(receive: Receive) -> None:
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()


def add_fault_routes(app: FastAPI, state: State) -> None:
    """The routes that set and show the faults and the counts."""

    @app.put("/_faults", tags=["faults"])
    async def set_faults(faults: Faults) -> Faults:
        state.require()
        state.faults = faults
        return faults

    @app.get("/_faults", tags=["faults"])
    async def get_faults() -> Faults:
        state.require()
        return state.faults

    @app.get("/_stats", tags=["faults"])
    async def get_stats() -> Stats:
        state.require()
        return Stats(requests=state.counts.total(), by_route=dict(state.counts))

    @app.delete("/_stats", status_code=204, tags=["faults"])
    async def reset_stats() -> None:
        state.require()
        state.counts.clear()
