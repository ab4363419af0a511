"""Keep-alive, waiting, retrying, and giving up at every stage."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from bff_core.errors import CallTimeout, ConnectFailed, ConnectionLost
from bff_core.wire import Http1Wire, WireResponse
from bff_core.wire.connection import Connection

from .raw import Call, Peer, answers, fetch, ok, says, settled


async def test_a_connection_is_reused_and_the_request_is_written_before_send_returns(make, serve, monkeypatch) -> None:
    server = await serve(answers(ok()))
    wire = make(server)
    await fetch(wire)
    written: list[bytes] = []
    connection = wire._pool._idle[0]
    write = connection.write
    monkeypatch.setattr(connection, "write", lambda data: (written.append(data), write(data)))
    call = Call(wire, "POST", "/a?b=c", headers=b"x-y: z\r\n", body=b"body")
    assert written == [
        b"POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-y: z\r\ncontent-length: 4\r\n\r\nbody" % server.port
    ]
    assert wire.in_flight == 1
    await call.future
    assert (wire.in_flight, len(server.peers)) == (0, 1)


async def test_the_connection_used_last_is_used_first(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server)
    await asyncio.gather(*(fetch(wire) for _ in range(3)))
    await settled(lambda: not wire._pool._dials)
    last = wire._pool._idle[-1]
    for _ in range(5):
        await fetch(wire)
        assert wire._pool._idle[-1] is last


@pytest.mark.parametrize(
    "data",
    [
        ok(b"hello", b"connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
    ids=["close", "1.0", "1.0 of two minds", "until close"],
)
async def test_connections_that_are_not_to_be_kept(make, serve, data: bytes) -> None:
    server = await serve(says(data, hold=b"length" in data))
    wire = make(server)
    for _ in range(2):
        assert (await fetch(wire, timeout=0.5)).body == b"hello"
    assert len(server.peers) == 2


async def test_http10_may_keep_its_connection(make, serve) -> None:
    server = await serve(answers(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello"))
    wire = make(server)
    for _ in range(2):
        await fetch(wire)
    assert len(server.peers) == 1


async def test_idle_connections_expire(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, idle=0.02)
    await asyncio.gather(*(fetch(wire) for _ in range(3)))
    await settled(lambda: not wire._pool._open)
    await settled(lambda: server.open == 0)


async def test_a_server_that_closes_idle_connections(make, serve) -> None:
    server = await serve(says(ok()))
    wire = make(server)
    for _ in range(3):
        await fetch(wire)
        await settled(lambda: not wire._pool._open)


async def stale(peer: Peer) -> None:
    """Answers once, takes the second request, and drops the connection."""
    await peer.request()
    await peer.say(ok(b"%d" % peer.number))
    await peer.request()
    peer.reset()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_idempotent_requests_are_sent_once_more(make, serve, method: str) -> None:
    server = await serve(stale)
    wire = make(server)
    await fetch(wire)
    assert (await fetch(wire, method)).status == 200
    assert len(server.peers) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH", "FROB"])
async def test_others_are_not(make, serve, method: str) -> None:
    server = await serve(stale)
    wire = make(server)
    await fetch(wire)
    with pytest.raises(ConnectionLost):
        await fetch(wire, method)
    assert len(server.requests) == 2


async def test_not_after_the_first_byte_and_not_twice(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            return
        await peer.say(ok())
        await peer.request()
        if peer.number == 2:
            await peer.say(b"H")
            await asyncio.sleep(0.01)

    server = await serve(script)
    wire = make(server)
    await fetch(wire)
    with pytest.raises(ConnectionLost):  # dropped, sent once more, dropped again
        await fetch(wire)
    assert len(server.requests) == 3
    await fetch(wire)
    with pytest.raises(ConnectionLost):
        await fetch(wire)
    assert len(server.requests) == 5


async def test_once_more_uses_a_new_connection_although_others_are_idle(make, serve) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await settled(lambda: len(peer.server.requests) >= 3)  # so that each of three connections gets one
        await peer.say(ok(b"%d" % peer.number))
        await peer.request()
        peer.reset()

    server = await serve(script)
    wire = make(server)
    await asyncio.gather(*(fetch(wire) for _ in range(3)))
    assert len(wire._pool._idle) == 3
    assert (await fetch(wire)).body == b"3"


async def test_a_failed_second_try_does_not_say_that_nothing_was_sent(make, serve, monkeypatch) -> None:
    server = await serve(stale)
    wire = make(server)
    await fetch(wire)

    async def refuse(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("bff_core.wire.pool.connect", refuse)
    with pytest.raises(ConnectionLost):
        await fetch(wire)


async def test_waiting_is_fair(make, serve) -> None:
    both = asyncio.Event()

    async def script(peer: Peer) -> None:
        if len(peer.server.peers) == 2:
            both.set()
        await both.wait()  # else the first could have done it all before the second comes
        await answers(ok())(peer)

    server = await serve(script)
    wire = make(server, max_connections=2)
    order: list[int] = []

    async def one(number: int) -> None:
        await fetch(wire, target=f"/{number}")
        order.append(number)

    await asyncio.gather(*(one(number) for number in range(50)))
    sent = [int(request.split(b" ")[1][1:]) for request in server.requests]
    assert all(abs(number - place) <= 2 for place, number in enumerate(sent))
    assert len(server.peers) == 2


async def test_a_new_request_does_not_overtake_those_that_wait(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, max_connections=1)
    await fetch(wire)
    calls = [Call(wire, target="/first"), Call(wire, target="/second")]
    calls[0].future.add_done_callback(lambda _: calls.append(Call(wire, target="/late")))
    await asyncio.gather(*(call.future for call in calls))
    await calls[2].future
    assert [request.split(b" ")[1] for request in server.requests] == [b"/", b"/first", b"/second", b"/late"]


async def test_waiting_ends_with_the_timeout(make, serve) -> None:
    server = await serve(says(hold=True))
    wire = make(server, max_connections=1)
    first = Call(wire)
    await settled(lambda: len(server.requests) == 1)
    with pytest.raises(CallTimeout):
        await fetch(wire, timeout=0.02)
    assert wire.in_flight == 1
    first.exchange.abandon()


async def test_giving_up_while_on_the_wire_frees_the_slot_at_once(make, serve) -> None:
    server = await serve(says(hold=True))
    wire = make(server, max_connections=1)
    for number in range(1, 4):
        call = Call(wire)
        await settled(lambda n=number: len(server.requests) == n)
        call.exchange.abandon()
        assert wire.in_flight == 0
        assert not wire._pool._open
        call.exchange.abandon()
    await settled(lambda: server.open == 0)
    assert call.ends == 0


async def test_giving_up_while_connecting(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, max_connections=1)
    for turns in range(12):
        call = Call(wire)
        other = Call(wire)
        for _ in range(turns):
            await asyncio.sleep(0)
        call.exchange.abandon()
        assert (await other.future).body == b"hello"
        wire.close_idle()
    assert wire.in_flight == 0


async def test_giving_up_while_waiting(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, max_connections=1)
    calls = [Call(wire) for _ in range(10)]
    for call in calls[::2]:
        call.exchange.abandon()
    assert wire.in_flight == 5
    await asyncio.gather(*(call.future for call in calls[1::2]))
    assert [call.ends for call in calls] == [0, 1] * 5


async def test_giving_up_another_from_within_a_callback(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server, max_connections=1)
    ended: list[str] = []
    second = None

    def first(_response: WireResponse | None, _error: object) -> None:
        ended.append("first")
        assert second is not None
        second.abandon()

    wire.send("GET", "/", b"", b"", 5, first)
    second = wire.send("GET", "/", b"", b"", 5, lambda *_: ended.append("second"))
    third = Call(wire)
    await third.future
    assert ended == ["first"]


async def test_refused_dials_end_each_its_own_exchange(make) -> None:
    from bff_core.testing import refused_port

    wire = make(f"http://127.0.0.1:{refused_port()}", max_connections=2)
    results = await asyncio.gather(*(fetch(wire) for _ in range(7)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectFailed] * 7


async def test_closing_ends_what_is_in_flight(make, serve) -> None:
    server = await serve(says(hold=True))
    wire: Http1Wire = make(server, max_connections=2)
    calls = [Call(wire) for _ in range(5)]
    await settled(lambda: len(server.requests) == 2)
    await asyncio.gather(wire.aclose(), wire.aclose())
    for call in calls:
        with pytest.raises(ConnectionLost):
            await call.future
        assert call.ends == 1
    await settled(lambda: server.open == 0)
    with pytest.raises(ConnectionLost):
        await fetch(wire)


async def test_closing_while_connecting(make, serve) -> None:
    server = await serve(answers(ok()))
    for turns in range(8):
        wire = make(server)
        call = Call(wire)
        for _ in range(turns):
            await asyncio.sleep(0)
        await wire.aclose()
        with contextlib.suppress(ConnectionLost):
            await call.future
        assert call.ends == 1


async def test_one_timer_serves_a_connection(make, serve) -> None:
    server = await serve(answers(ok()))
    wire = make(server)
    await fetch(wire, timeout=9)
    connection: Connection = wire._pool._idle[0]
    timer = connection._timer
    for _ in range(20):
        await fetch(wire, timeout=10)
    assert connection._timer is timer
    await fetch(wire, timeout=1)
    assert connection._timer is not timer


async def test_the_port_is_spoken_to_without_delay(make, serve) -> None:
    import socket

    server = await serve(answers(ok()))
    wire = make(server)
    await fetch(wire)
    sock = wire._pool._idle[0]._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
