"""Circuits mirrored to a shared store, for whoever looks; never on a call's path."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from uuid import uuid4

import structlog

from ..stores import valkey_client
from ..telemetry import Event

__all__ = ["CircuitMirror"]

log = structlog.get_logger("bff.resilience")
EVERY = 15.0
KEEP = 60
TIMEOUT = 1.0
STATES = {"OnCircuitOpened": "open", "OnCircuitClosed": "closed", "OnCircuitHalfOpened": "half-open"}


class CircuitMirror:
    """Writes ``{service: {"state", "since"}}`` as JSON to ``bff:{gateway}:circuits:{replica}`` in Valkey when a circuit
    changes, and every fifteen seconds. It is gone a minute after the replica is; ``since`` is Unix time.

    Subscribe it to a gateway's events. What goes wrong is logged when it begins to, and tried again later.
    """

    def __init__(self, url: str, gateway: str) -> None:
        self._client = valkey_client(url, connections=1)
        self.key = f"bff:{gateway}:circuits:{uuid4().hex[:12]}"
        self._states: dict[str, dict[str, object]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def __call__(self, event: Event) -> None:
        """Take note of an event; a circuit's change is written soon."""
        state = STATES.get(event.name)
        if state is not None:
            self._states[event.pipeline] = {"state": state, "since": time.time()}
            self._changed.set()

    def start(self) -> None:
        """Begin to write, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self) -> None:
        """Write no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(Exception):
            await self._client.aclose()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), EVERY)
            self._changed.clear()
            if self._states:
                await self._write()

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._client.set(self.key, json.dumps(self._states), ex=KEEP)
        except Exception as error:  # noqa: BLE001 - the client raises errors of several libraries
            if not self._failing:
                log.warning("mirror.failed", error=str(error) or type(error).__name__)
            self._failing = True
        else:
            self._failing = False
