"""Delivers webhooks, in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import structlog
import uvloop

from ..errors import SettingsError
from ..telemetry import configure_logs
from ..webhooks import Webhooks
from .gateways import usable
from .serve import load

__all__ = ["dispatch"]

log = structlog.get_logger("bff.webhooks")


def dispatch(target: str, log_level: str) -> None:
    """Deliver what the ``Webhooks`` at ``target`` (``module:name``) has to tell, until SIGTERM or Ctrl-C; what is under
    way is finished. Raises ``SettingsError``."""
    webhooks = load(target, "webhooks")
    if not isinstance(webhooks, Webhooks):
        raise SettingsError(f"{target} is a {type(webhooks).__name__}, not Webhooks")
    configure_logs(target, log_level)
    uvloop.run(_dispatch(webhooks))


async def _dispatch(webhooks: Webhooks) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as running:
        with usable("the database of the webhooks"):  # as it begins: an outage later on is waited out
            await running.enter_async_context(webhooks.running(dispatchers=1))
        log.info("webhook.dispatching")
        await stopped.wait()
