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
    crowd = Crowd(4)
    _, pieces, several, body = (made.connection for made in crowd.connections)
    crowd.connections[0].connection.data_received(GET)
    pieces.data_received(GET[:7])
    several.data_received(GET * 3)
    body.data_received(POST)
    pieces.data_received(GET[7:])
    body.data_received(b"ab")
    await settle(40)
    assert crowd.answered() == 6
    assert not any(made.transport.paused for made in crowd.connections)


async def test_little_is_read_before_its_turn() -> None:
    crowd = Crowd(2)
    crowd.come()
    waiting = crowd.connections[1]
    waiting.connection.data_received(b"GET /1 HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000)
    assert not waiting.transport.paused
    waiting.connection.data_received(b"a" * 8_000 + b"\r\n\r\n")
    assert waiting.transport.paused
    await settle()
    assert not waiting.transport.paused
    assert crowd.answered() == 3


async def test_the_rest_of_a_head_waits_like_a_whole_one() -> None:
    """Or a byte sent in time would be a place before all who wait."""
    crowd = Crowd(9)
    for made in crowd.connections[1:]:
        made.connection.data_received(GET[:1])
    crowd.connections[0].connection.data_received(GET)
    for number, made in enumerate(crowd.connections[1:], 1):
        made.connection.data_received(GET[1:].replace(b"/a", b"/%d" % number))
    assert crowd.begun == ["/a"]
    await settle(2)
    assert crowd.begun == ["/a", "/1", "/2"]
    await settle()
    assert crowd.begun == ["/a", *(f"/{number}" for number in range(1, 9))]


async def test_the_next_of_a_connection_waits_like_those_of_others() -> None:
    crowd = Crowd(3)
    first, second, third = crowd.connections
    first.connection.data_received(b"".join(GET.replace(b"/a", b"/0%d" % number) for number in range(3)))
    second.connection.data_received(GET.replace(b"/a", b"/1"))
    third.connection.data_received(GET.replace(b"/a", b"/2"))
    await settle(20)
    assert crowd.begun[0] == "/00"
    assert crowd.begun.index("/02") > crowd.begun.index("/2") > crowd.begun.index("/1")
    assert crowd.answered() == 5
    assert first.transport.written.count(b"HTTP/1.1 200") == 3


async def test_the_next_of_a_connection_that_is_lost_loses_its_turn() -> None:
    crowd = Crowd(2)
    first, second = crowd.connections
    first.connection.data_received(GET * 2)
    second.connection.data_received(GET.replace(b"/a", b"/1"))
    while not first.connection._pipeline._waits:
        await settle(1)
    first.connection.connection_lost(None)
    await settle()
    assert crowd.begun == ["/a", "/1"]


async def test_a_client_that_leaves_loses_its_turn() -> None:
    crowd = Crowd(8)
    crowd.come()
    for made in crowd.connections[1:7]:
        made.connection.connection_lost(None)
    await settle(3)
    assert crowd.begun == ["/0", "/7"]


async def test_who_asks_whether_we_live_waits_for_nobody() -> None:
    crowd = Crowd(4)
    crowd.come()
    probing = Made(begin=crowd.connections[0].connection._caps.begin, turns=crowd.turns)
    probing.connection.data_received(GET.replace(b"/a", b"/health/live"))
    assert crowd.begun == ["/0", "/health/live"]
    assert len(crowd.turns._waiting) == 3
    await settle()
    assert crowd.begun[2:] == ["/1", "/2", "/3"]
    assert probing.transport.written.count(b"HTTP/1.1 200") == 1


async def test_what_is_kept_takes_no_turn_but_waits_for_one() -> None:
    crowd = Crowd(12)
    kept = GET.replace(b"/a", b"/kept")
    crowd.connections[0].connection.data_received(GET)
    for made in crowd.connections[1:]:
        made.connection.data_received(kept)
    assert crowd.begun == ["/a"]
    await settle(1)
    assert crowd.begun == ["/a"] + ["/kept"] * 11
    assert crowd.turns.enter(crowd.connections[0].connection)


async def test_no_time_limit_runs_out_while_a_request_waits() -> None:
    """It is we who let it wait. When its turn has come it is on time again."""
    crowd = Crowd(2)
    crowd.come()
    waiting = crowd.connections[1]
    waiting.connection._late()
    assert not waiting.transport.closed
    await settle()
    assert crowd.answered() == 2
    waiting.connection.data_received(GET[:9])
    waiting.connection._late()
    assert waiting.transport.closed


async def test_blank_lines_win_no_time() -> None:
    crowd = Crowd(2)
    until = crowd.connections[1].connection._timer._deadline
    for _ in range(3):
        crowd.connections[0].connection.data_received(GET)
        crowd.connections[1].connection.data_received(b"\r\n")
        await settle()
    assert crowd.connections[1].connection._timer._deadline == until


@pytest.mark.parametrize(("before", "later"), [(b"\r\n", GET), (GET[:9], GET[9:])])
async def test_what_comes_much_later_has_not_waited(before: bytes, later: bytes) -> None:
    """An empty line, or the beginning of a head, had to wait; the request that is whole after a while had not."""
    crowd = Crowd(2)
    crowd.connections[0].connection.data_received(GET)
    late = crowd.connections[1]
    late.connection.data_received(before)
    await settle()
    late.connection.data_received(later)
    await settle()
    assert crowd.answered() == 2
    assert "bff.arrived" not in late.scopes[0]


async def test_a_server_that_stops_answers_who_waits() -> None:
    """In their turns: there is time for that."""
    crowd = Crowd(5)
    crowd.come()
    for made in crowd.connections:
        made.connection.shutdown()
    assert crowd.begun == ["/0"]
    await settle()
    assert crowd.answered() == 5
    assert all(made.transport.closed for made in crowd.connections)
    assert all(b"connection: close" in made.transport.written for made in crowd.connections)


async def test_who_cannot_be_served_is_let_go_and_holds_up_nobody() -> None:
    crowd = Crowd(3)
    crowd.come()

    def fails(*_: Any) -> None:
        raise ValueError("broken")

    crowd.connections[1].connection._pipeline._app = fails
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: heard.append(context["exception"]))
    await settle()
    assert crowd.connections[1].transport.aborted
    assert crowd.begun == ["/0", "/1", "/2"]
    assert crowd.answered() == 2
    assert len(heard) == 1


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
