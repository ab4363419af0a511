"""Whether the client is still there, from every order in which a server may tell it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from bff_core.disconnect import client_left
from bff_core.hardening import LimitedBody
from bff_core.hardening.body import BodyCaps

PART = {"type": "http.request", "body": b"x", "more_body": True}
END = {"type": "http.request", "body": b"", "more_body": False}
BARE = {"type": "http.request"}
GONE = {"type": "http.disconnect"}


class Server:
    """Tells ``messages``, and then the last one for ever, or nothing any more."""

    def __init__(self, *messages: Message, again: bool = False) -> None:
        self.messages = list(messages)
        self.again = again
        self.asked = 0

    async def __call__(self) -> Message:
        self.asked += 1
        if self.asked <= len(self.messages):
            return self.messages[self.asked - 1]
        if self.again:
            return self.messages[-1]
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def settle(task: asyncio.Task[Any]) -> bool:
    """Whether ``task`` is done when it has had every chance to be."""
    for _ in range(20):
        await asyncio.sleep(0)
    return task.done()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "told", [(GONE,), (END, GONE), (BARE, GONE), (PART, GONE), (PART, PART, END, GONE)], ids=lambda told: str(len(told))
)
async def test_it_leaves(told: tuple[Message, ...]) -> None:
    """Before, amid and after its request; the empty request of a GET is not the end of looking."""
    server = Server(*told)
    await client_left(server)
    assert server.asked == len(told)


@pytest.mark.anyio
@pytest.mark.parametrize("told", [(), (END,), (PART, END)], ids=lambda told: str(len(told)))
async def test_it_stays(told: tuple[Message, ...]) -> None:
    """Nothing returns before it has left."""
    task = asyncio.create_task(client_left(Server(*told)))
    assert not await settle(task)
    task.cancel()


@pytest.mark.anyio
async def test_a_server_that_goes_on_after_the_end() -> None:
    """It is asked twice and no more."""
    server = Server(END, again=True)
    task = asyncio.create_task(client_left(server))
    assert not await settle(task)
    assert server.asked == 2
    task.cancel()


@pytest.mark.anyio
async def test_caps_are_for_bodies_that_are_read() -> None:
    """A body that nobody reads, without a type and larger than the cap, does not keep the departure from being seen."""
    headers = {b"content-length": b"100"}
    caps = BodyCaps(max_body=10, timeout=1.0, max_json_depth=2, max_json_members=2)
    await client_left(LimitedBody(Server(PART, END, GONE), caps, headers))
