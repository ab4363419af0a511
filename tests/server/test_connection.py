"""A connection without a socket: what is told to whom, in which order, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import sys
from contextvars import ContextVar
from typing import Any

import pytest

from bff_core.server import pipeline

from .made import GET, POST, Made, answers

pytestmark = pytest.mark.anyio


async def test_the_usual_request_needs_no_parser() -> None:
    made = Made()
    for _ in range(3):
        assert await made.say(GET) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    assert made.connection._reader is None
    assert made.state.total_requests == 3
    assert not made.state.tasks


async def test_both_readings_make_the_same_scope() -> None:
    made = Made()
    target = GET.replace(b"/a", b"/%C3%A4/b?c=%20&d").replace(b"x\r", b"x\r\nX-Note: \xff \r")
    await made.say(target, target[:20], target[20:], target)
    quick, slow, again = made.scopes
    for scope in made.scopes:
        del scope["bff.exchange"]
    assert quick == slow == again
    assert quick["path"] == "/ä/b"
    assert quick["headers"] == [(b"host", b"x"), (b"x-note", b"\xff")]


async def test_what_an_application_does_to_its_headers_is_its_own() -> None:
    """The next request with the same lines has them all again; the server's state is each request's own too."""

    async def spoils(scope: Any, receive: Any, send: Any) -> None:
        scope["headers"].clear()
        scope["state"]["more"] = 1
        scope["extensions"].clear()
        await answers(scope, receive, send)

    made = Made(spoils)
    seen: list[Any] = []
    made.connection._pipeline._app = lambda scope, receive, send: (
        seen.append((list(scope["headers"]), dict(scope["state"]), dict(scope["extensions"]))),
        spoils(scope, receive, send),
    )[1]
    await made.say(GET, GET)
    assert seen[0] == seen[1] == ([(b"host", b"x")], {"kept": 1}, {"http.response.early_hint": {}})


async def test_a_body_that_looks_like_a_request_is_a_body() -> None:
    """Also when it comes alone, in a segment of its own, behind a request that was answered already."""
    made = Made()
    head = POST.replace(b"2", b"%d" % len(GET))
    answer = await made.say(head, GET, GET)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert [scope["method"] for scope in made.scopes] == ["POST", "GET"]


async def test_half_a_line_end_belongs_to_what_comes_next() -> None:
    made = Made()
    await made.say(GET, b"\r", b"\n" + GET)
    assert len(made.scopes) == 2


async def test_ten_thousand_that_wait_are_answered_without_ten_thousand_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They wait behind one that takes its time, and are all answered at once then."""
    monkeypatch.setattr(pipeline, "MOST_WAITING", 10_000)
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answers(scope, receive, send)

    made = Made(
        slow, begin=lambda scope, *_: (200, [(b"content-length", b"0")], b"") if scope["path"] == "/k" else None
    )
    await made.say(GET, GET.replace(b"/a", b"/k") * 10_000)
    assert made.transport.paused
    go.set()
    await made.say()
    for _ in range(5):
        await asyncio.sleep(0)
    assert made.transport.written.count(b"HTTP/1.1 200") == 10_001
    assert not made.transport.paused


async def test_a_shorter_way_that_fails_is_not_taken() -> None:
    def fails(*_: Any) -> None:
        raise ValueError

    made = Made(begin=fails)
    assert (await made.say(GET, GET)).count(b"HTTP/1.1 200") == 2
    assert len(made.scopes) == 2


async def test_a_shorter_way_may_take_its_time() -> None:
    """What it gives is run in place of the application."""

    async def long(send: Any) -> None:
        await asyncio.sleep(0)
        await answers({}, None, send)

    made = Made(begin=lambda _scope, _receive, send: long(send))
    assert (await made.say(GET)).startswith(b"HTTP/1.1 200")
    assert made.scopes == []


async def test_answers_come_in_the_order_of_the_requests() -> None:
    turns = [asyncio.Event(), asyncio.Event()]

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await turns[len(made.scopes) - 1].wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["raw_path"])]})
        await send({"type": "http.response.body"})

    made = Made(waits)
    turns[1].set()
    assert await made.say(GET + GET.replace(b"/a", b"/b")) == b""
    turns[0].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert made.transport.written.index(b"/a") < made.transport.written.index(b"/b")


BROKEN = {
    "a body": (b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"),
    "a head": (b"GET /b", b" \x00\r\n\r\n"),
    "what came with it": (b"GET /b HTTP/9\r\n\r\n",),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_a_refusal_is_not_taken_for_an_earlier_answer(broken: tuple[bytes, ...]) -> None:
    """What is wrong with a second request ends the connection, behind the answer that is due to the first."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answers(scope, receive, send)

    made = Made(slow)
    assert await made.say(GET + broken[0], *broken[1:]) == b""
    assert not made.transport.closed
    go.set()
    answer = await made.say()
    for _ in range(5):
        await asyncio.sleep(0)
    answer = made.transport.written
    assert answer == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    assert made.transport.closed
    assert len(made.scopes) == 1


async def test_what_is_wrong_with_its_body_is_said_to_who_sends_it() -> None:
    """While nothing is answered."""
    made = Made(lambda _scope, receive, _send: receive())
    answer = await made.say(*BROKEN["a body"])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert made.transport.closed
    made.connection.connection_lost(None)
    await asyncio.sleep(0)


async def test_whoever_works_for_a_client_hears_that_it_left() -> None:
    """The one that is answered by its callback, those that wait in receive by a message."""
    told: list[str] = []

    async def listens(scope: Any, receive: Any, _send: Any) -> None:
        scope["bff.exchange"].when_left = lambda: told.append("called")
        assert (await receive())["type"] == "http.request"
        told.append((await receive())["type"])

    made = Made(listens)
    await made.say(GET)
    made.connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert told == ["called", "http.disconnect"]
    assert not made.state.tasks
    assert not made.state.connections


async def test_no_callback_behind_an_answer() -> None:
    told: list[str] = []

    async def listens(scope: Any, receive: Any, send: Any) -> None:
        scope["bff.exchange"].when_left = lambda: told.append("called")
        await answers(scope, receive, send)

    made = Made(listens)
    await made.say(GET)
    made.connection.connection_lost(None)
    assert told == []


async def test_early_hints() -> None:
    async def hints(scope: Any, _receive: Any, send: Any) -> None:
        assert "http.response.early_hint" in scope["extensions"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b>\r\nx: y"]})
        await answers(scope, _receive, send)

    made = Made(hints)
    answer = await made.say(GET)
    assert answer.startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
    old = Made(hints)
    assert (await old.say(GET.replace(b"1.1", b"1.0"))).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_what_the_application_cannot_say() -> None:
    """It raises there, is logged, and the client gets a 500 or a broken connection, never half a lie."""
    start = {"type": "http.response.start", "status": 200}
    for messages, status in (
        ([{"type": "http.response.body"}], 500),
        ([start | {"headers": [(b"a b", b"c")]}], 500),
        ([start | {"headers": [(b"a", b"b\r\nc: d")]}], 500),
        ([start | {"status": 99}], 500),
        ([], 500),
        ([start | {"headers": [(b"content-length", b"3")]}, {"type": "http.response.body", "body": b"four"}], 200),
        ([start | {"headers": [(b"content-length", b"3")]}, {"type": "http.response.body", "body": b"2"}], 200),
        ([start, start], 200),
        ([start], 200),
    ):

        async def says(_scope: Any, _receive: Any, send: Any, messages: Any = messages) -> None:
            for message in messages:
                await send(message)

        made = Made(says)
        answer = await made.say(GET)
        assert answer.startswith(b"HTTP/1.1 %d" % status), (messages, answer)
        assert made.transport.closed
        assert b"c: d" not in answer


@pytest.mark.parametrize(
    ("request_", "headers", "body", "answer", "closed"),
    [
        (GET, [], b"ab", b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", False),
        (GET, [], b"", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (GET.replace(b"1.1", b"1.0"), [], b"ab", b"connection: close\r\n\r\nab", True),
        (GET.replace(b"GET", b"HEAD"), [(b"content-length", b"2")], b"ab", b"content-length: 2\r\n\r\n", False),
        (GET, [(b"connection", b"x, Close"), (b"content-length", b"1")], b"a", b"content-length: 1\r\n\r\na", True),
    ],
)
async def test_framing(request_: bytes, headers: Any, body: bytes, answer: bytes, closed: bool) -> None:
    async def says(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    made = Made(says)
    assert (await made.say(request_)).endswith(answer)
    assert made.transport.closed is closed


async def test_a_body_is_not_read_faster_than_it_is_taken() -> None:
    go = asyncio.Event()
    taken: list[int] = []

    async def takes(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        more = True
        while more:
            message = await receive()
            taken.append(len(message["body"]))
            more = message["more_body"]
        await answers(scope, receive, send)

    made = Made(takes)
    await made.say(POST.replace(b"2", b"200000"), b"a" * 50_000)
    assert not made.transport.paused
    await made.say(b"a" * 50_000)
    assert made.transport.paused
    go.set()
    await made.say(b"a" * 100_000)
    assert not made.transport.paused
    assert sum(taken) == 200_000
    assert b"HTTP/1.1 200" in made.transport.written


async def test_100_continue_is_said_to_who_waits_for_it_and_when_it_is_wanted() -> None:
    async def takes(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answers(scope, receive, send)

    expects = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    made = Made(takes)
    assert await made.say(expects) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await made.say(b"ab")).startswith(b"HTTP/1.1 200")
    made = Made()
    assert (await made.say(expects)).startswith(b"HTTP/1.1 200")


async def test_a_server_that_stops() -> None:
    """Who is idle is let go at once, who waits gets an answer and no further one."""
    idle = Made()
    await idle.say(GET)
    idle.connection.shutdown()
    assert idle.transport.closed
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answers(scope, receive, send)

    busy = Made(slow)
    await busy.say(GET + GET)
    busy.connection.shutdown()
    assert not busy.transport.closed
    go.set()
    for _ in range(9):
        await asyncio.sleep(0)
    assert busy.transport.written.count(b"HTTP/1.1 200") == 2
    assert busy.transport.written.count(b"connection: close") == 1
    assert busy.transport.closed


async def test_a_client_that_takes_nothing_is_waited_for() -> None:
    """The application's next piece goes out when there is room, not into memory."""
    sent: list[int] = []

    async def streams(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(piece)
            made.connection.pause_writing()

    made = Made(streams)
    await made.say(GET)
    assert sent == [0]
    made.connection.resume_writing()
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == [0, 1]
    made.connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == [0, 1, 2]


async def test_context_variables_are_one_requests_own() -> None:
    """Also of those that begin when the one before has been answered, in its task."""
    seen: list[str | None] = []
    variable: ContextVar[str | None] = ContextVar("variable", default=None)

    async def sets(scope: Any, receive: Any, send: Any) -> None:
        seen.append(variable.get())
        variable.set(scope["path"])
        await asyncio.sleep(0)
        await answers(scope, receive, send)

    made = Made(sets)
    await made.say(GET * 3, GET)
    for _ in range(9):
        await asyncio.sleep(0)
    assert seen == [None] * 4


async def test_who_expects_100_continue_and_is_answered_is_not_read_on() -> None:
    """Whether the body comes or the next request, only the client knows."""
    expects = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
    for made in (Made(), Made(begin=lambda *_: (503, [(b"content-length", b"0")], b""))):
        assert b"connection: close" in await made.say(expects)
        assert made.transport.closed
    made = Made(lambda _scope, receive, _send: receive())
    assert await made.say(expects.replace(b"1.1", b"1.0")) == b""  # RFC 9110 section 10.1.1
    made.connection.connection_lost(None)
    await asyncio.sleep(0)


async def test_only_so_many_wait() -> None:
    """Each holds many times what the client has spent on it. The connection ends behind those that do."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answers(scope, receive, send)

    made = Made(slow)
    await made.say(GET + (POST + b"ab") * 1000, GET)
    assert len(made.connection._pipeline.queue) <= pipeline.MOST_WAITING
    go.set()
    for _ in range(500):
        await asyncio.sleep(0)
    heads = made.transport.written.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert len(heads) == len(made.scopes) == pipeline.MOST_WAITING
    assert [b"connection: close" in head for head in heads] == [False] * (len(heads) - 1) + [True]
    assert made.transport.closed


async def test_the_queue_is_not_filled_while_it_is_emptied() -> None:
    """Reading goes on when all that waited have been answered, not with each answer."""
    made = Made()
    await made.say(GET * 50)
    at = [made.transport.paused]
    while made.connection._pipeline.queue:
        await asyncio.sleep(0)
        at.append(made.transport.paused)
    assert at.count(False) <= 2
    for _ in range(5):
        await asyncio.sleep(0)
    assert not made.transport.paused
    assert made.transport.written.count(b"HTTP/1.1 200") == 50


async def test_no_body_for_head_however_it_is_answered() -> None:
    made = Made(begin=lambda *_: (200, [(b"content-length", b"2")], b"ok"))
    assert (await made.say(GET.replace(b"GET", b"HEAD"))).endswith(b"content-length: 2\r\n\r\n")


async def test_what_stands_before_a_head_is_not_counted_as_its_own() -> None:
    made = Made(max_head=2000, begin=lambda *_: (200, [(b"content-length", b"0")], b""))
    await made.say(GET * 100 + GET[:10], GET[10:])
    assert made.transport.written.count(b"HTTP/1.1 200") == 101
    await made.say(GET[:-2] + b"X: " + b"a" * 3000)
    assert b"HTTP/1.1 431" in made.transport.written


async def test_a_websocket_waits_for_no_answer() -> None:
    """Where one is due, its request is answered like any other; nobody writes into another protocol."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await answers(scope, receive, send)

    made = Made(slow)
    made.connection._config.ws_protocol_class = None.__class__  # is not to be made
    upgrade = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    await made.say(GET + upgrade)
    go.set()
    await made.say()
    for _ in range(9):
        await asyncio.sleep(0)
    assert made.transport.written.count(b"HTTP/1.1 200") == 2
    assert made.transport.closed


async def test_nothing_is_left_of_a_connection() -> None:
    """No circle for the garbage collector: nothing it holds holds it."""
    made = Made()
    await made.say(GET, POST + b"ab", GET)
    left = made.connection
    left.connection_lost(None)
    made.scopes.clear()
    del made.connection
    gc.collect()
    assert sys.getrefcount(left) == 2  # the variable, and the argument


async def test_what_is_like_bytes_is_taken() -> None:
    """Also by compiled code: headers in lists, bodies in other types."""

    async def says(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [[b"content-length", b"4"]]})
        await send({"type": "http.response.body", "body": bytearray(b"ab"), "more_body": True})
        await send({"type": "http.response.body", "body": memoryview(b"cd")})

    assert (await Made(says).say(GET)).endswith(b"content-length: 4\r\n\r\nabcd")


@pytest.mark.parametrize("lengths", [[b"-1"], [b"2", b"2"], [b"x"]])
async def test_lengths_that_are_none(lengths: list[bytes]) -> None:
    async def says(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", length) for length in lengths]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    assert (await Made(says).say(GET)).startswith(b"HTTP/1.1 500")


async def test_a_304_has_no_last_chunk() -> None:
    async def says(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 304, "headers": [(b"transfer-encoding", b"chunked")]})
        await send({"type": "http.response.body"})

    assert (await Made(says).say(GET)).endswith(b"\r\n\r\n")


async def test_an_absolute_target_without_a_path() -> None:
    made = Made()
    await made.say(GET.replace(b"/a", b"http://y"))
    assert (made.scopes[0]["path"], made.scopes[0]["headers"]) == ("/", [(b"host", b"y")])


async def test_an_answer_at_once_that_finds_no_room_is_sent_when_there_is() -> None:
    """Once, and counted once: it is not asked for again."""
    asked: list[str] = []

    def begin(scope: Any, *_: Any) -> Any:
        asked.append(scope["path"])
        return 503, [(b"content-length", b"0")], b""

    made = Made(begin=begin)
    made.connection.pause_writing()
    assert await made.say(GET) == b""
    made.connection.resume_writing()
    await made.say()
    for _ in range(5):
        await asyncio.sleep(0)
    assert made.transport.written.startswith(b"HTTP/1.1 503")
    assert asked == ["/a"]
    assert made.scopes == []


async def test_of_those_who_wait_for_room_each_looks_again() -> None:
    sent: list[int] = []

    async def several(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        made.connection.pause_writing()

        async def one(number: int) -> None:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent.append(number)
            made.connection.pause_writing()

        await asyncio.gather(*(one(number) for number in range(3)))

    made = Made(several)
    await made.say(GET)
    for count in (1, 2, 3):
        made.connection.resume_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(sent) == count
    made.connection.connection_lost(None)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_client_that_closes_its_side_is_watched() -> None:
    """What is written is still sent, but not for ever waited for."""
    made = Made(write_timeout=0.01)
    made.transport.get_write_buffer_size = lambda: 1  # type: ignore[method-assign]
    made.connection.eof_received()
    assert made.transport.closed
    async with asyncio.timeout(10):
        while not made.transport.aborted:
            await asyncio.sleep(0.005)


async def test_whoever_takes_a_body_says_how_long_it_may_take() -> None:
    """A long upload is not cut off from under the application; what nobody wants any more is."""

    async def takes(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await answers(scope, receive, send)

    made = Made(takes)
    await made.say(POST, b"a")
    made.connection._late()  # the time for bodies is over
    assert not made.transport.closed
    assert (await made.say(b"b")).startswith(b"HTTP/1.1 200")
    made = Made()
    assert (await made.say(POST, b"a")).startswith(b"HTTP/1.1 200")
    assert not made.transport.closed
    made.connection._late()
    assert made.transport.closed
