"""A client that asks a gateway in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

__all__ = ["bff_client"]


@asynccontextmanager
async def bff_client(app: FastAPI, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """An ``httpx.AsyncClient`` (with ``options``) for ``app``, which is started before and stopped after."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://bff.test", **options
        ) as client,
    ):
        yield client
