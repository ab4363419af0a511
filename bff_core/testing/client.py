"""A client that asks a gateway in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from .services import FakeTransport

__all__ = ["bff_client"]


@asynccontextmanager
async def bff_client(app: FastAPI, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An ``httpx.AsyncClient`` (with ``options``) for ``app``, which is started before and stopped after.

    Raises ``AssertionError`` at the end when ``app`` asked its ``FakeServices`` for what was not declared, and the test
    has not looked at ``unexpected``; an error that the test ends with says so in a note.
    """
    transport = getattr(app, "transport", None)
    services = transport.services if isinstance(transport, FakeTransport) else None
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://bff.test", **options
            ) as client,
        ):
            yield client
    except Exception as error:
        if services is not None and (complaint := services.complaint()) is not None:
            error.add_note(complaint)
        raise
    if services is not None and (complaint := services.complaint()) is not None:
        raise AssertionError(complaint)
