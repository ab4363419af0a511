"""Requests as ASGI has them (ASGI HTTP specification 2.3)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from ..hardening import ARRIVED, EXCHANGE
from .exchange import Exchange
from .head import Headers

__all__ = ["Scopes"]


class Scopes:
    """Makes those of one connection. ``arrived`` is when the next request came, if that had to wait for its turn, else
    0."""

    __slots__ = ("_client", "_root_path", "_scheme", "_server", "_state", "arrived")

    def __init__(self, config: Config, transport: asyncio.Transport, state: dict[str, Any]) -> None:
        self._root_path: str = config.root_path
        self._server = get_local_addr(transport)
        self._client = get_remote_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"
        self._state = state
        self.arrived = 0.0

    def make(
        self, exchange: Exchange, method: str, raw_path: bytes, query: bytes, version: str, headers: Headers
    ) -> Scope:
        """That of one request; ``raw_path`` and ``query`` are percent-encoded."""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        if self._root_path:
            path, raw_path = self._root_path + path, self._root_path.encode("ascii") + raw_path
        scope: Scope = {
            "type": "http",
            # From 2.4 on, sending to a client that has left raises; here, it is told by receiving, and dropped.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": self._root_path,
            "headers": headers,
            "state": self._state.copy(),
            "method": method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "extensions": {"http.response.early_hint": {}},
            EXCHANGE: exchange,
        }
        if self.arrived:
            scope[ARRIVED] = self.arrived
            self.arrived = 0.0
        return scope
