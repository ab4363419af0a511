"""Requests that wait for their turn are not looked at before it comes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bff_core.limits import Turns
from bff_core.limits.turns import CALLS_PER_TURN

from .made import GET, POST, Made, answers

pytestmark = pytest.mark.anyio


class Crowd:
    """``connections`` of one gateway, each of whose requests is a turn of its own; ``kept`` ones take none."""

    def __init__(self, count: int, run: Any = None) -> None:
        self.turns = Turns()
        self.begun: list[str] = []

        def begin(scope: Any, _receive: Any, _send: Any) -> Any:
            self.begun.append(scope["path"])
            if scope["path"] == "/kept":
                return 200, [(b"content-length", b"0")], b""
            self.turns.take(CALLS_PER_TURN)
            return None

        self.connections = [Made(run, begin=begin, turns=self.turns) for _ in range(count)]

    def come(self, first: int = 0) -> None:
        for number, made in enumerate(self.connections[first:], first):
            made.connection.data_received(GET.replace(b"/a", b"/%d" % number))

    def answered(self) -> int:
        return sum(made.transport.written.count(b"HTTP/1.1 200") for made in self.connections)


async def settle(turns: int = 12) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_a_crowd_is_answered_in_the_order_it_came() -> None:
    crowd = Crowd(8)
    crowd.come()
    assert crowd.begun == ["/0"]
    await settle()
    assert crowd.begun == [f"/{number}" for number in range(8)]
    assert crowd.answered() == 8
    crowd.come()
    await settle()
    assert crowd.answered() == 16


async def test_the_wait_is_the_requests_own() -> None:
    """Its deadline, its duration in metrics and log: all begin when it came. Who did not wait has no such mark."""
    crowd = Crowd(2)
    before = time.monotonic()
    crowd.come()
    came = time.monotonic()
    await settle()
    first, second = (made.scopes[0] for made in crowd.connections)
    assert "bff.arrived" not in first
    assert before <= second["bff.arrived"] <= came
    await crowd.connections[1].say(GET)
    assert "bff.arrived" not in crowd.connections[1].scopes[1]


async def test_what_waits_comes_in_pieces_or_several_at_once() -> None:
    """Little of it is read before its turn."""
    crowd = Crowd(4)
    _, pieces, several, body = (made.connection for made in crowd.connections)
    crowd.connections[0].connection.data_received(GET)
    pieces.data_received(GET[:7])
    several.data_received(GET * 3)
    body.data_received(POST)
    pieces.data_received(GET[7:])
    body.data_received(b"ab")
    assert crowd.connections[1].transport.paused
    await settle(40)
    assert crowd.answered() == 6
    assert not any(made.transport.paused for made in crowd.connections)


async def test_a_client_that_leaves_loses_its_turn() -> None:
    crowd = Crowd(8)
    crowd.come()
    for made in crowd.connections[1:7]:
        made.connection.connection_lost(None)
    await settle(3)
    assert crowd.begun == ["/0", "/7"]


async def test_what_is_kept_takes_no_turn_but_waits_for_one() -> None:
    crowd = Crowd(1)
    kept = GET.replace(b"/a", b"/kept")
    for _ in range(100):
        assert b"200" in await crowd.connections[0].say(kept)
    assert crowd.turns.enter(crowd.connections[0].connection)


async def test_no_time_limit_runs_out_while_a_request_waits() -> None:
    """It is we who let it wait; what it has not sent of its head by then it is given time for."""
    crowd = Crowd(3)
    crowd.come()
    _, second, third = crowd.connections
    third.connection._unread = GET[:9]
    for made in (second, third):
        assert made.connection._timer._deadline == float("inf")
    await settle()
    assert crowd.answered() == 2
    assert third.connection._timer._deadline < float("inf")


async def test_a_server_that_stops_answers_who_waits() -> None:
    """At once: there is no next turn to wait for."""
    crowd = Crowd(5)
    crowd.come()
    for made in crowd.connections:
        made.connection.shutdown()
    await settle()
    assert crowd.answered() == 5
    assert all(made.transport.closed for made in crowd.connections)
    assert all(b"connection: close" in made.transport.written for made in crowd.connections)


async def test_who_is_answered_waits_for_no_turn_with_the_rest_of_a_body() -> None:
    """What has begun is finished first."""
    heard: list[bytes] = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "POST":
            more = True
            while more:
                message = await receive()
                heard.append(message["body"])
                more = message["more_body"]
        await answers(scope, receive, send)

    crowd = Crowd(3, reads)
    first = crowd.connections[0].connection
    first.data_received(POST + b"a")
    crowd.come(1)
    first.data_received(b"b")
    await settle(2)
    assert b"".join(heard) == b"ab"
    assert crowd.begun == ["/a", "/1", "/2"]
