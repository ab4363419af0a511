"""The client's departure, as ASGI tells it."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from .hardening import LimitedBody

__all__ = ["client_left"]


async def client_left(receive: Receive) -> None:
    """Returns when the client has left; to be awaited in a task of its own, and cancelled when nobody cares any more.

    What is still to come of the request is read and dropped, whatever it is. Its end comes first, even when it has no
    body, unless it has been read before (ASGI HTTP specification, "Request" and "Disconnect").
    """
    if isinstance(receive, LimitedBody):
        receive = receive.unlimited
    ended = False
    while (message := await receive())["type"] != "http.disconnect":
        if ended:
            # A server that goes on after the end would have us spin, and never says who leaves.
            await asyncio.get_running_loop().create_future()
        ended = not message.get("more_body")
