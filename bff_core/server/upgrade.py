"""A connection that becomes another protocol's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from .reader import Head

__all__ = ["hand_over"]


def hand_over(
    head: Head, transport: asyncio.Transport, config: Config, state: ServerState, app_state: dict[str, Any]
) -> None:
    """Give the connection, and the request that asked for it, to uvicorn's protocol for WebSockets."""
    protocol = cast("Any", config.ws_protocol_class)(config=config, server_state=state, app_state=app_state)
    lines = b"".join([b"%b: %b\r\n" % header for header in head.headers])
    protocol.connection_made(transport)
    protocol.data_received(b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method.encode(), head.target, lines))
    transport.set_protocol(protocol)
