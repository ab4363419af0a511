"""What goes through a pass-through route, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from bff_core import (
    ApiKey,
    ApiKeys,
    BreakerPolicy,
    Cors,
    DeclarationError,
    Policy,
    Principal,
    ServiceSettings,
    Settings,
    SettingsError,
    create_bff,
)
from bff_core.proxy import ProxyRoute
from bff_core.testing import FakeServices, HostileServer, bff_client, refused_port
from tests.hardening.served import Named
from tests.wire.raw import Peer, answers, ok, says

from .conftest import CALM, Start, WireKind, settled


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Tells what it was asked."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    content = json.dumps(
        {
            "method": scope["method"],
            "target": (scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")).decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
        }
    ).encode()
    headers = [(b"content-type", b"application/json"), (b"etag", b'"1"'), (b"set-cookie", b"s=1"), (b"x-secret", b"1")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def test_there_and_back(start: Start, asgi: Any, wire: WireKind) -> None:
    """The request as it should arrive, the answer as it should come back."""
    gateway = await start(await asgi(echo), wire=wire, query=["w"], methods=("GET", "POST"))
    answer = await gateway.client.get(
        "/media/a/b%20c.jpg?w=1&x=2",
        headers={"cookie": "s=1", "authorization": "Bearer x", "x-forwarded-for": "6.6.6.6", "x-request-id": "r-1"},
    )
    assert answer.status_code == 200
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["x-request-id"] == "r-1"
    assert not {"set-cookie", "x-secret"} & set(answer.headers)
    asked = answer.json()
    assert asked["target"] == "/a/b%20c.jpg?w=1"
    headers = dict(asked["headers"])
    assert headers["host"] == gateway.app.settings.services["media"].url.partition("://")[2]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-request-id"] == "r-1"
    assert headers["traceparent"].startswith("00-")
    assert headers["accept-encoding"]  # the client's own
    assert not {"cookie", "authorization", "grpc-timeout", "user-agent", "connection"} & set(headers)


@pytest.mark.parametrize("size", [0, 5, 100_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies(start: Start, asgi: Any, wire: WireKind, size: int, chunked: bool) -> None:
    """Framed as the client framed them."""
    gateway = await start(await asgi(echo), wire=wire, methods=("POST",))

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * size

    content: Any = pieces() if chunked else b"x" * size
    asked = (await gateway.client.post("/media/up", content=content, headers={"content-type": "text/plain"})).json()
    assert asked["body"] == "x" * size
    headers = dict(asked["headers"])
    assert headers["content-type"] == "text/plain"
    assert headers.get("content-length") == (None if chunked else str(size))
    assert headers.get("transfer-encoding") == ("chunked" if chunked else None)


async def test_relayed_when_declared(start: Start, asgi: Any) -> None:
    """Cookies and credentials, both ways."""
    gateway = await start(
        await asgi(echo), request_headers=["cookie", "authorization"], response_headers=["set-cookie"]
    )
    answer = await gateway.client.get("/media/x", headers={"cookie": "s=1", "authorization": "Bearer x"})
    assert answer.headers["set-cookie"] == "s=1"
    headers = dict(answer.json()["headers"])
    assert (headers["cookie"], headers["authorization"]) == ("s=1", "Bearer x")


CONTENT = bytes(range(256)) * 40


async def ranges(peer: Peer) -> None:
    """Answers ranges and conditions as a file server does."""
    while True:
        request = await peer.request()
        if b"if-none-match" in request:
            await peer.say(b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 10240\r\n\r\n')
        elif b"range: bytes=99999-" in request:
            await peer.say(
                b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */10240\r\ncontent-length: 0\r\n\r\n"
            )
        elif b"range: bytes=100-199" in request and b'if-range: "1"' in request:
            await peer.say(
                b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 100-199/10240\r\ncontent-length: 100\r\n\r\n"
                + CONTENT[100:200]
            )
        elif request.startswith(b"HEAD"):
            await peer.say(b"HTTP/1.1 200 OK\r\naccept-ranges: bytes\r\ncontent-length: 10240\r\n\r\n")
        else:
            await peer.say(ok(CONTENT, b'etag: "1"'))


async def test_ranges_and_conditions(start: Start, serve: Any, wire: WireKind) -> None:
    """206, 416, 304 and HEAD as the service says; the connection to the client goes on."""
    server = await serve(ranges)
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire)
    get = gateway.client.get
    part = await get("/media/x", headers={"range": "bytes=100-199", "if-range": '"1"'})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == "bytes 100-199/10240"
    none = await get("/media/x", headers={"range": "bytes=99999-"})
    assert (none.status_code, none.headers["content-range"]) == (416, "bytes */10240")
    same = await get("/media/x", headers={"if-none-match": '"1"'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", '"1"')
    head = await gateway.client.head("/media/x")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10240")
    assert (await get("/media/x")).content == CONTENT
    if wire == "http1":
        assert len(server.peers) == 1


async def test_coded_answers_come_as_they_are(start: Start, serve: Any, wire: WireKind) -> None:
    """Not decoded, not coded again."""
    coded = gzip.compress(b"hello" * 100)
    server = await serve(answers(ok(coded, b"content-encoding: gzip", b"vary: accept-encoding")))
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire)
    got = await gateway.raw(
        b"GET /media/x HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip, br\r\nconnection: close\r\n\r\n"
    )
    assert got.endswith(b"\r\n\r\n" + coded)
    assert b"content-encoding: gzip" in got
    assert b"accept-encoding: gzip, br\r\n" in server.requests[0]


async def test_informational_answers_and_trailers_are_dropped(start: Start, serve: Any, wire: WireKind) -> None:
    """One answer is one answer."""
    server = await serve(
        answers(
            b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntrailer: x-sum\r\n"
            b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"
        )
    )
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire)
    got = await gateway.raw(b"GET /media/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200")
    assert got.endswith(b"\r\n\r\nhello" if b"content-length: 5" in got else b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert b"x-sum" not in got


@pytest.mark.parametrize(
    "target", ["/media/../x", "/media/%2e%2e/x", "/media/a%2f..%2fx", "/media/a%5cx", "/media/%0d%0ax", "/media//x",
               "/media/%252e%252e/x"]
)  # fmt: skip
async def test_tricks_do_not_reach_the_service(start: Start, serve: Any, target: str) -> None:
    """Neither decoded nor as they are."""
    server = await serve(answers(ok()))
    gateway = await start(f"http://127.0.0.1:{server.port}")
    got = await gateway.raw(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target.encode())
    assert got.split()[1] in {b"400", b"404"}
    assert not server.requests


async def test_a_method_that_is_not_declared(start: Start, serve: Any) -> None:
    """405 with what there is; HEAD does not come with GET."""
    server = await serve(answers(ok()))
    gateway = await start(f"http://127.0.0.1:{server.port}", methods=("GET",))
    answer = await gateway.client.head("/media/x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert not server.requests


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /media/x HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
        b"GET /media/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_get_with_a_body(start: Start, serve: Any, request_: bytes) -> None:
    """Refused: what one side takes for a body the other may take for a request."""
    server = await serve(answers(ok()))
    gateway = await start(f"http://127.0.0.1:{server.port}")
    assert (await gateway.raw(request_)).split()[1] == b"400"
    assert not server.requests


async def test_too_large(start: Start, serve: Any, wire: WireKind) -> None:
    """413 before the service is asked when the length says so, else as soon as it is too much."""
    server = await serve(says(hold=True))
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, methods=("PUT",), max_body=20_000)
    assert (await gateway.client.put("/media/x", content=b"x" * 20_001)).status_code == 413
    assert not server.peers

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 10_000

    answer = await gateway.client.put("/media/x", content=pieces())
    assert (answer.status_code, answer.json()["status"]) == (413, 413)


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [("close", 502), ("reset", 502), ("garbage", 502), ("two-lengths", 502), ("head-bomb", 502), ("never", 504)],
)
async def test_failures_are_problem_documents(start: Start, wire: WireKind, behaviour: str, status: int) -> None:
    """Without the service's name."""
    async with HostileServer() as server:
        policy = CALM.model_copy(update={"timeout": 0.1})
        gateway = await start(server.url, wire=wire, policy=policy)
        answer = await gateway.client.get(f"/media/{behaviour}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert "media" not in answer.json()["detail"]
        server.release.set()


@pytest.mark.parametrize(
    ("options", "asked", "counted"),
    [({"timeout": 0.05}, {}, 2), ({"timeout": 30.0}, {"grpc-timeout": "50m"}, 0)],
    ids=["the route's", "the client's"],
)
async def test_deadlines(start: Start, wire: WireKind, options: Any, asked: Any, counted: int) -> None:
    """The route's timeout may be shorter or longer than the service's; a client's hurry does not count against it."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire, **options)
        assert (await gateway.client.get("/media/never", headers=asked)).status_code == 504
        assert gateway.failures() == counted
        server.release.set()


async def test_a_route_may_be_more_patient_than_the_gateway(start: Start, serve: Any, wire: WireKind) -> None:
    """Its ``timeout`` wins over the gateway's deadline and the service's policy."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.3)
        await peer.say(ok())

    server = await serve(script)
    policy = CALM.model_copy(update={"timeout": 0.05})
    url = f"http://127.0.0.1:{server.port}"
    gateway = await start(url, wire=wire, policy=policy, settings={"deadline": 0.1}, timeout=20.0)
    assert (await gateway.client.get("/media/x")).status_code == 200


async def test_nobody_listens(start: Start, wire: WireKind) -> None:
    """503, with Retry-After."""
    gateway = await start(f"http://127.0.0.1:{refused_port()}", wire=wire)
    answer = await gateway.client.get("/media/x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_the_service_s_own_errors_come_through(start: Start, wire: WireKind) -> None:
    """Whatever the status, an answer is an answer; it is not asked for again."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire)
        assert (await gateway.client.get("/media/error")).status_code == 500
        answer = await gateway.client.get("/media/unavailable")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "0")
        assert (await gateway.client.get("/media/nothing-of-the-kind")).status_code == 404
        assert server.requests["unavailable"] == server.requests["error"] == 1


async def test_a_status_that_is_none_is_no_answer(start: Start, serve: Any, wire: WireKind) -> None:
    server = await serve(answers(b"HTTP/1.1 999 Odd\r\ncontent-length: 2\r\n\r\nok"))
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire)
    answer = await gateway.client.get("/media/a")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"


async def test_retries(start: Start, wire: WireKind) -> None:
    """Of idempotent requests without a body, when no answer came; the others are sent once."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire, methods=("GET", "PUT", "POST"))
        heard: list[str] = []
        gateway.app.events.subscribe(lambda event: heard.append(event.name))
        assert (await gateway.client.get("/media/close")).status_code == 502
        assert (server.requests["close"], heard) == (2, ["OnRetry"])
        assert (await gateway.client.post("/media/close")).status_code == 502
        assert (await gateway.client.put("/media/close", content=b"x")).status_code == 502
        assert server.requests["close"] == 4


async def test_breaker(start: Start, wire: WireKind) -> None:
    """Failures open the circuit: nothing more is sent; answers that break off count as well."""
    async with HostileServer() as server:
        policy = CALM.model_copy(update={"breaker": BreakerPolicy(minimum_calls=4, open_for=60, open_cap=60)})
        gateway = await start(server.url, wire=wire, policy=policy)
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                await gateway.client.get("/media/close-mid-body")
        assert gateway.app.upstreams["media"].breaker.state == "open"
        answer = await gateway.client.get("/media/ok")
        assert answer.status_code == 503
        assert server.requests["ok"] == 0


async def test_bulkhead(start: Start, wire: WireKind) -> None:
    """A stream takes its place until it ends."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire, policy=CALM.model_copy(update={"bulkhead": 1}))
        async with gateway.client.stream("GET", "/media/trickle") as first:
            assert first.status_code == 200
            assert (await gateway.client.get("/media/ok")).status_code == 503
            server.release.set()
            with pytest.raises(httpx.RemoteProtocolError):
                await first.aread()
        assert (await gateway.client.get("/media/ok")).status_code == 200


class Waits:
    """A call that the bulkhead has no place for."""

    def __init__(self) -> None:
        self.went = False

    def go(self) -> None:
        self.went = True

    def late(self) -> None:
        raise AssertionError


async def test_the_end_of_a_stream_makes_room(start: Start, wire: WireKind) -> None:
    """Whoever waits for the bulkhead goes on when it ends, and need not wait for the end of a call."""
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire, policy=CALM.model_copy(update={"bulkhead": 1}))
        waits, upstream = Waits(), gateway.app.upstreams["media"]
        async with gateway.client.stream("GET", "/media/trickle"):
            assert upstream.waiting.join(waits, time.monotonic() + 60)
            upstream.advance()
            assert not waits.went
            server.release.set()
        await settled(lambda: waits.went)


async def test_the_place_that_a_stream_has_left_is_taken_before_anybody_is_refused(
    start: Start, wire: WireKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when somebody looks next."""
    monkeypatch.setattr("bff_core.resilience.bulkhead.TICK", 60.0)
    async with HostileServer() as server:
        gateway = await start(server.url, wire=wire, policy=CALM.model_copy(update={"bulkhead": 1}))
        waits, upstream = Waits(), gateway.app.upstreams["media"]
        async with gateway.client.stream("GET", "/media/trickle"):
            assert upstream.waiting.join(waits, time.monotonic() + 60)
            server.release.set()
        await settled(lambda: not upstream.wire.in_flight)
        assert (await gateway.client.get("/media/ok")).status_code == 200
        assert waits.went


async def test_a_slow_client_does_not_open_the_circuit(start: Start, serve: Any, wire: WireKind) -> None:
    """What the client takes to send its request is not the service's slowness, nor its timeout."""
    server = await serve(answers(ok()))
    breaker = BreakerPolicy(minimum_calls=1, slow_rate=0.01, slow_after=0.2)
    policy = Policy(timeout=0.1, connect_timeout=0.1, bulkhead=8, breaker=breaker)
    gateway = await start(f"http://127.0.0.1:{server.port}", wire=wire, policy=policy, methods=("POST",))
    reader, writer = await gateway.connect()
    writer.write(b"POST /media/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
    await asyncio.sleep(0.4)
    writer.write(b"0\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).split()[1] == b"200"
    writer.close()
    assert gateway.app.upstreams["media"].breaker.state == "closed"


async def test_many_endpoints(start: Start, serve: Any, wire: WireKind) -> None:
    """A request goes to one of them; a retry to another."""
    good = await serve(answers(ok()))
    bad = await serve(says(b""))
    urls = f"http://127.0.0.1:{good.port},http://127.0.0.1:{bad.port}"
    gateway = await start(urls, wire=wire)
    for _ in range(20):
        assert (await gateway.client.get("/media/x")).content == b"hello"
    assert good.requests
    assert bad.requests


async def test_private_routes(start: Start, serve: Any) -> None:
    """Somebody must ask; a shared cache must not keep the answer."""
    server = await serve(answers(ok(b"hello", b"cache-control: public, max-age=60")))
    keys = ApiKeys([ApiKey(sha256=sha256(b"k").hexdigest(), partner="p")])
    gateway = await start(f"http://127.0.0.1:{server.port}", public=False, create={"auth": keys})
    assert (await gateway.client.get("/media/x")).status_code == 401
    assert not server.requests
    answer = await gateway.client.get("/media/x", headers={"x-api-key": "k"})
    assert answer.headers["cache-control"] == "private, max-age=60"
    assert b"x-api-key" not in server.requests[0]


async def test_in_memory(start: Start) -> None:
    """``bff_core.testing`` plays the service, as for pages."""
    services = FakeServices("media")
    services["media"].get("/x").respond(200, text="hello", headers={"x-secret": "1"})
    app = create_bff("t", settings=Settings(services=services.settings), clients=[], transport=services.transport)
    app.proxy("/media/{path:path}", service="media", to="/{path}", public=True)
    async with bff_client(app) as client:
        answer = await client.get("/media/x")
        assert (answer.text, "x-secret" in answer.headers) == ("hello", False)
        assert (await client.get("/media/y")).status_code == 501
        assert len(services.unexpected) == 1


def test_declarations() -> None:
    """What is wrong is told when it is declared."""
    app = create_bff("t", settings=Settings(services={"media": ServiceSettings(url="http://x")}), clients=[])

    def proxy(**options: Any) -> None:
        app.proxy("/m/{path:path}", **{"service": "media", "to": "/{path}", "public": True, **options})

    with pytest.raises(DeclarationError, match="is private, but gateway 't' has no"):
        proxy(public=False)
    with pytest.raises(SettingsError, match="set BFF_SERVICES__OTHER__URL"):
        proxy(service="other")
    for methods in ("GET", (), ("TRACE",), ("get",)):
        with pytest.raises(DeclarationError, match="methods are some of"):
            proxy(methods=methods)
    proxy()


def test_openapi() -> None:
    """An entry for each method."""
    app = create_bff("t", settings=Settings(services={"media": ServiceSettings(url="http://x")}), clients=[])
    app.proxy("/m/{path:path}", service="media", to="/{path}", public=True)
    for _ in range(2):
        entry = app.openapi()["paths"]["/m/{path}"]
        assert sorted(entry) == ["get", "head"]
        assert entry["get"]["parameters"][0]["name"] == "path"
        assert entry["get"]["responses"]["504"]["description"]


NODE = """
const http = require("http");
http.createServer((req, res) => {
  let size = 0;
  req.on("data", (d) => size += d.length);
  req.on("end", () => {
    res.writeHead(200, {"content-type": "text/plain", "trailer": "x-sum"});
    res.write("got " + size);
    res.addTrailers({"x-sum": "1"});
    res.end(" bytes");
  });
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
async def test_node(start: Start, wire: WireKind) -> None:
    """Both ways with a server of another kind."""
    process = await asyncio.create_subprocess_exec("node", "-e", NODE, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        gateway = await start(f"http://127.0.0.1:{port}", wire=wire, methods=("PUT", "GET"), max_body=10_000_000)

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 50_000

        for content in (b"x" * 5_000_000, pieces()):
            assert (await gateway.client.put("/media/x", content=content)).text == "got 5000000 bytes"
        assert (await gateway.client.get("/media/x")).text == "got 0 bytes"
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "said", "length"),
    [
        ("GET", ok(b"hello"), b"5"),
        ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"5"),
        ("GET", ok(b""), b"0"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 10\r\n\r\n', None),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", b"10"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", None),
    ],
    ids=["length", "chunked", "empty", "204", "304", "head with length", "head without"],
)
@pytest.mark.parametrize("own", [True, False], ids=["own server", "uvicorn"])
async def test_answers_that_are_there_at_once(
    start: Start, serve: Any, own: bool, method: str, said: bytes, length: bytes | None
) -> None:
    """They go out whole, and the connection goes on to the next."""
    server = await serve(answers(said))
    gateway = await start(f"http://127.0.0.1:{server.port}", own=own, methods=("GET", "HEAD"))
    request = b"%b /media/x HTTP/1.1\r\nhost: x\r\n" % method.encode()
    got = await gateway.raw(request + b"\r\n" + request + b"connection: close\r\n\r\n")
    body = b"hello" if length == b"5" else b""
    first, second = got.split(b"HTTP/1.1 ")[1:]
    for one in (first, second):
        head, _, rest = one.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [line.partition(b": ")[2] for line in lines if line.startswith(b"content-length")]
        assert lengths == ([] if length is None else [length])
        assert not [line for line in lines if line.startswith(b"transfer-encoding")]
        assert sum(line.startswith(b"x-content-type-options") for line in lines) == 1
        assert rest == body


async def test_preflights_are_the_gateways_own(start: Start, serve: Any) -> None:
    """Also where OPTIONS goes to the service."""
    server = await serve(answers(ok()))
    app = "https://app.example"
    gateway = await start(
        f"http://127.0.0.1:{server.port}", methods=("GET", "OPTIONS"), settings={"cors": Cors(origins=[app])}
    )
    asks = {"origin": app, "access-control-request-method": "GET"}
    preflight = await gateway.client.options("/media/x", headers=asks)
    assert (preflight.status_code, len(server.requests)) == (204, 0)
    other = await gateway.client.options("/media/x", headers={"origin": app})
    assert (other.status_code, other.text, len(server.requests)) == (200, "hello", 1)
    assert other.headers["access-control-allow-origin"] == app


async def test_a_number_that_is_none(start: Start, serve: Any) -> None:
    """What a path's converter does not take is answered as anything else."""
    server = await serve(answers(ok()))
    gateway = await start(f"http://127.0.0.1:{server.port}", path="/media/{number:int}", to="/{number}")
    answer = await gateway.client.get("/media/" + "9" * 5000)
    assert answer.status_code == 414
    assert answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await gateway.client.get("/media/9")).text == "hello"


async def test_who_left_before_it_was_sent(start: Start, serve: Any) -> None:
    """Nothing is sent for a client that went while it was found out who it is."""
    server = await serve(answers(ok()))
    asked, gone = asyncio.Event(), asyncio.Event()

    class Slow(Named):
        async def authenticate(self, scope: Any) -> Principal | None:
            asked.set()
            await gone.wait()
            return await super().authenticate(scope)

    gateway = await start(f"http://127.0.0.1:{server.port}", create={"auth": Slow()}, public=False, methods=("POST",))
    _, writer = await gateway.connect()
    writer.write(b"POST /media/x HTTP/1.1\r\nhost: x\r\nx-name: a\r\ncontent-length: 0\r\n\r\n")
    await asked.wait()
    writer.transport.abort()
    await asyncio.sleep(0.05)
    gone.set()
    (meter,) = (meter for route in gateway.app.routes if isinstance(route, ProxyRoute) for meter in route.meters)
    await settled(lambda: meter.in_flight == 0)
    assert not server.requests


@pytest.mark.parametrize("raises", [False, True])
async def test_middleware_that_answers_in_its_place(start: Start, serve: Any, raises: bool) -> None:
    """Its answer has the headers that every answer has, once, and its own status; what it raises is answered."""

    class Denies:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return

            async def drop(_: Any) -> None: ...

            await self.app(scope, receive, drop)
            if raises:
                raise LookupError("lost")
            await PlainTextResponse("denied", 403)(scope, receive, send)

    server = await serve(answers(ok()))
    gateway = await start(f"http://127.0.0.1:{server.port}", create={"middleware": [Middleware(Denies)]})
    got = await gateway.raw(b"GET /media/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 500" if raises else b"HTTP/1.1 403")
    assert (b"application/problem+json" in got) == raises
    assert b"lost" not in got
    assert got.count(b"x-content-type-options: nosniff") == got.count(b"x-request-id: ") == 1
