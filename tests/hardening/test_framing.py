"""Request smuggling, over raw sockets: every request has one end, and what follows it is nobody else's request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from .served import Served, served, statuses

HOST = b"Host: 127.0.0.1\r\n"
POST = b"POST /things HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
SMUGGLED = b"GET /things/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
END = b"0\r\n\r\n"

AMBIGUOUS = {
    "TE and CL": POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + END + b"X",
    "CL and TE": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n" + END + b"X",
    "two CL": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED,
    "two CL, the same": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED,
    "CL list": POST + b"Content-Length: 2, 2\r\n\r\n{}" + SMUGGLED,
    "CL +2": POST + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
    "CL 0x2": POST + b"Content-Length: 0x2\r\n\r\n{}" + SMUGGLED,
    "CL -2": POST + b"Content-Length: -2\r\n\r\n{}" + SMUGGLED,
    "CL beyond 64 bits": POST + b"Content-Length: 18446744073709551618\r\n\r\n{}" + SMUGGLED,
    "CL with a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}" + SMUGGLED,
    "TE xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + END + SMUGGLED,
    "TE identity": POST + b"Transfer-Encoding: identity\r\n\r\n" + END + SMUGGLED,
    "TE gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + END,
    "TE chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + END + SMUGGLED,
    "TE chunked, chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + END,
    "two TE": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + END + SMUGGLED,
    "two TE, the same": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + END,
    "TE with a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + END + SMUGGLED,
    "TE with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END + SMUGGLED,
    "TE with a NUL": POST + b"Transfer-Encoding: chunked\x00\r\n\r\n" + END + SMUGGLED,
    "TE in HTTP/1.0": POST.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + END,
    "folded TE": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + END + SMUGGLED,
    "folded header": POST + b"X-Note: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF": b"GET /things/a HTTP/1.1\nHost: 127.0.0.1\n\n",
    "bare CR in a header": b"GET /things/a HTTP/1.1\r\n" + HOST + b"X-Note: a\rTransfer-Encoding: chunked\r\n\r\n",
    "NUL in a header": b"GET /things/a HTTP/1.1\r\n" + HOST + b"X-Note: a\x00b\r\n\r\n",
    "space in a header's name": b"GET /things/a HTTP/1.1\r\n" + HOST + b"X Note: a\r\n\r\n",
    "chunk size 0x2": POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n" + END + SMUGGLED,
    "chunk size beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n" + END,
    "chunk ended by LF": POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n" + SMUGGLED,
    "chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n" + END + SMUGGLED,
    "CL among the trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 40\r\n\r\n",
    "body of a GET": b"GET /things/a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
    "body of a HEAD": b"HEAD /things/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + END,
    "body before another protocol": POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 40\r\n\r\n",
    "no host": b"GET /things/a HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /things/a HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "two hosts and a target with one": b"GET http://127.0.0.1/things/a HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "a host in the target only": b"GET http://127.0.0.1/things/a HTTP/1.1\r\n\r\n",
    "a host that is none": b"GET /things/a HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a host with a user": b"GET /things/a HTTP/1.1\r\nHost: x@127.0.0.1\r\n\r\n",
    "a host with a path": b"GET /things/a HTTP/1.1\r\nHost: 127.0.0.1/x\r\n\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "body of a CONNECT": b"CONNECT /things/a HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc",
    "a tunnel's target": b"GET 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /things/a#/../b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment behind a query": b"GET /things/a?b#&c HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment of an absolute target": b"GET http://127.0.0.1/things/a# HTTP/1.1\r\n" + HOST + b"\r\n",
    "another scheme": b"GET ftp://127.0.0.1/things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a user in the target": b"GET http://u:p@127.0.0.1/things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "an empty user in the target": b"GET http://@127.0.0.1/things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "no target": b"GET  HTTP/1.1\r\n" + HOST + b"\r\n",
    "method in lower case": b"get /things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"FOO /things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET /things/a HTTP/1.2\r\n" + HOST + b"\r\n",
    "TLS to a plain port": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 64,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
UNSUPPORTED = {
    "HTTP/0.9": b"GET /things/a\r\n\r\n",
    "HTTP/2.0 in a line": b"GET /things/a HTTP/2.0\r\n" + HOST + b"\r\n",
}


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Served]:
    async with served() as running:
        yield running


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_what_has_two_readings_is_refused(edge: Served, name: str) -> None:
    """One 400, the connection closed, nothing that stands behind it taken for a request, no service asked."""
    edge.service.heads.clear()
    answer = await edge.say(AMBIGUOUS[name])
    assert statuses(answer) == [400], answer
    assert answer.endswith(b"<EOF>") or name == "OPTIONS *", answer
    assert b"application/problem+json" in answer
    assert b"x-content-type-options: nosniff" in answer
    assert edge.service.heads == []


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_other_versions(edge: Served, name: str) -> None:
    """HTTP has the versions 1.0 and 1.1 here."""
    answer = await edge.say(UNSUPPORTED[name])
    assert statuses(answer) == [505]
    assert answer.endswith(b"<EOF>")


@pytest.mark.parametrize("guard", [True, False])
async def test_the_body_of_an_upgrade_is_no_request(guard: bool) -> None:
    """uvicorn drops the framing of a request that asks for another protocol; its body, sent apart, would be the next
    request. The gate refuses it, whatever serves the gateway."""
    head = POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    async with served(guard=guard) as edge:
        answer = await edge.say(head, SMUGGLED, pause=0.05)
        assert statuses(answer) == [400]
        assert answer.endswith(b"<EOF>")
        assert edge.service.heads == []


LETS_GO = {
    "CONNECT": b"CONNECT /things/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT with a body": b"CONNECT /things/a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
    "an upgrade": b"GET /things/a HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an upgrade to websockets": b"GET /things/a HTTP/1.1\r\n"
    + HOST
    + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.parametrize(
    "pieces", [("", SMUGGLED), (SMUGGLED, SMUGGLED), (POST + b"Content-Length: 90\r\n\r\n", SMUGGLED)]
)
@pytest.mark.parametrize("name", LETS_GO)
async def test_nothing_is_read_behind_a_request_that_asks_for_another_protocol(
    edge: Served, name: str, pieces: tuple[bytes, bytes]
) -> None:
    """llhttp lets go of the connection there. What came with such a request would be dropped, and what comes later be
    read as requests, from wherever in the stream it is."""
    edge.service.heads.clear()
    answer = await edge.say(LETS_GO[name] + (pieces[0] or b""), pieces[1], pause=0.05)
    assert len(statuses(answer)) == 1
    assert answer.endswith(b"<EOF>")
    assert b"smuggled" not in b"".join(edge.service.heads)


@pytest.mark.parametrize("path", [b"/things", b"/no-such-thing"])
@pytest.mark.parametrize("pause", [0, 0.05])
async def test_a_connection_that_a_trailer_closes_is_closed(edge: Served, path: bytes, pause: float) -> None:
    """llhttp heeds it and hears nothing from then on; who came next would wait for nothing."""
    head = POST.replace(b"/things", path) + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await edge.say(head, b"2\r\n{}\r\n0\r\nConnection: close\r\n\r\n" + SMUGGLED, pause=pause)
    assert len(statuses(answer)) == 1
    assert answer.endswith(b"<EOF>")


async def test_what_is_well_framed_passes(edge: Served) -> None:
    """Chunks with extensions, two requests in one segment, a body in pieces, a last request with close."""
    edge.service.heads.clear()
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n" + END
    plain = POST + b"Content-Length: 2\r\n\r\n"
    last = b"GET /things/z HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    answer = await edge.say(b"\r\n" + chunked + plain, b"{", b"}" + last + SMUGGLED, pause=0.02)
    assert statuses(answer) == [200, 200, 200]
    assert answer.endswith(b"<EOF>")
    assert edge.service.targets == ["/things", "/things", "/things/z/end"]


async def test_the_authority_of_an_absolute_target(edge: Served) -> None:
    """It stands above Host (RFC 9112 section 3.2.2), for better and for worse."""
    absolute = b"GET http://%s/things/a HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
    assert statuses(await edge.say(absolute % (b"evil.com", b"127.0.0.1"))) == [421]
    assert statuses(await edge.say(absolute % (b"127.0.0.1:80", b"evil.com"))) == [200]
    assert statuses(await edge.say(absolute % (b"[::1]", b"evil.com"))) == [200]
    assert statuses(await edge.say(absolute % (b"user@evil.com", b"127.0.0.1"))) == [400]


@pytest.mark.parametrize("named", [b"x-name", b"authorization, x-name", b"host", b"keep-alive, content-length"])
async def test_connection_names_nothing_away(edge: Served, named: bytes) -> None:
    """A client cannot have the gateway forget a header by calling it hop-by-hop, and no such header travels on."""
    edge.service.heads.clear()
    answer = await edge.say(
        b"GET /mine HTTP/1.1\r\n" + HOST + b"X-Name: ada\r\nTE: trailers\r\nKeep-Alive: timeout=9\r\n"
        b"Proxy-Authorization: Basic eA==\r\nProxy-Connection: close\r\nTrailer: X\r\n"
        b"Connection: " + named + b"\r\n\r\n"
    )
    assert statuses(answer) == [200]
    (head,) = edge.service.heads
    assert edge.service.targets == ["/things/ada/end"]
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert not names & {b"te", b"keep-alive", b"proxy-authorization", b"proxy-connection", b"trailer", b"x-name"}


async def test_a_trailer_is_no_header(edge: Served) -> None:
    head = b"POST /plain HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"2\r\n{}\r\n0\r\nX-Name: mallory\r\n\r\n"
    assert statuses(await edge.say(head + body)) == [401]
    # Nor one that comes while the body is being read.
    named = head.replace(b"Host:", b"X-Name: alice\r\nHost:", 1)
    assert statuses(await edge.say(named, body, pause=0.05)) == [200]


@pytest.mark.parametrize("start", [b"0\r\n", b"0\r\na:", b"2;x="])
@pytest.mark.parametrize("piece", [b"a:b\r\n" * 1000, b"x" * 5000])
async def test_trailers_and_extensions_have_an_end(edge: Served, start: bytes, piece: bytes) -> None:
    head = b"POST /plain HTTP/1.1\r\n" + HOST + b"X-Name: alice\r\nContent-Type: application/json\r\n"
    # 100 kB and more of what is neither head nor body; the parser refuses some of these sooner.
    answer = await edge.say(head + b"Transfer-Encoding: chunked\r\n\r\n" + start, *[piece] * 40, pause=0.002)
    assert statuses(answer) in ([431], [400])
    assert b"<EOF>" in answer
