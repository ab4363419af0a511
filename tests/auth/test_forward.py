"""An auth service asked with a sub-request: its answers, its failures, and over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from bff_core import (
    DeclarationError,
    ForwardAuth,
    Principal,
    Problem,
    Refused,
    principal_from_headers,
    principal_from_json,
)
from bff_core.auth.ask import MAX_CONNECTIONS
from bff_core.context import background_context
from bff_core.errors import ClientDisconnected
from bff_core.testing import refused_port

from .issuer import Clock, scope_of

WHO = {"x-auth-subject": "u1", "x-auth-scopes": "read, write", "x-auth-tenant": "t1"}
U1 = Principal("u1", scopes=frozenset({"read", "write"}), tenant="t1")


class Service:
    """The auth service: gives ``answer``."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self.answer: httpx.Response | Exception = httpx.Response(200, headers=WHO)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def auth(self, **options: Any) -> ForwardAuth:
        return ForwardAuth("http://auth.test/check?v=1", transport=httpx.MockTransport(self), **options)


@pytest.fixture
def service() -> Service:
    return Service()


def asked(value: str = "Bearer x", path: str = "/orders", **more: Any) -> dict[str, Any]:
    return scope_of(("authorization", value), ("cookie", "c=1"), ("x-other", "1"), path=path) | more


async def test_what_is_sent_and_read(service: Service) -> None:
    """The chosen headers and where the client wanted to go, nothing else of the client's."""
    scope = asked(path="/a b", raw_path=b"/a%20b", query_string=b"q=1&r=%0d%0a")
    assert await service.auth(forward=["Authorization"]).authenticate(scope) == U1
    (request,) = service.seen
    assert (request.method, str(request.url)) == ("GET", "http://auth.test/check?v=1")
    assert request.headers["authorization"] == "Bearer x"
    assert request.headers["x-original-method"] == "GET"
    assert request.headers["x-original-uri"] == "/a%20b?q=1&r=%0d%0a"
    assert not {"cookie", "x-other"} & set(request.headers)


async def test_a_uri_that_would_end_the_header(service: Service) -> None:
    """Bytes that no header can carry are percent-encoded."""
    scope = asked(raw_path=b"/a\r\nx-admin: 1", query_string="é".encode())
    assert await service.auth().authenticate(scope) == U1
    assert service.seen[0].headers["x-original-uri"] == "/a%0D%0Ax-admin:%201?%C3%A9"
    assert "x-admin" not in service.seen[0].headers
    del scope["raw_path"]
    assert await service.auth().authenticate(scope | {"path": "/a%\r\n"}) == U1
    assert service.seen[1].headers["x-original-uri"].startswith("/a%25%0D%0A?")


@pytest.mark.parametrize(
    ("answer", "status", "challenge"),
    [
        (httpx.Response(401), 401, "Bearer"),
        (httpx.Response(401, headers={"www-authenticate": 'Custom realm="x"'}), 401, 'Custom realm="x"'),
        (httpx.Response(403), 403, None),
        (httpx.Response(204), 503, None),
        (httpx.Response(302, headers={"location": "/login"}), 503, None),
        (httpx.Response(404), 503, None),
        (httpx.Response(500, headers=WHO), 503, None),
        (httpx.ConnectError("x"), 503, None),
        (httpx.ReadTimeout("x"), 503, None),
    ],
)
async def test_other_answers(
    service: Service, answer: httpx.Response | Exception, status: int, challenge: str | None
) -> None:
    """401 and 403 are the client's; whatever else is no 2xx with a principal is a 503."""
    service.answer = answer
    with pytest.raises(Problem) as refused:
        await service.auth().authenticate(asked())
    assert refused.value.status == status
    assert refused.value.headers.get("www-authenticate") == challenge


@pytest.mark.parametrize("coding", ["utf-8", "latin-1"])
async def test_a_tenant_that_is_not_ascii(service: Service, coding: str) -> None:
    """In UTF-8, as services write it today, or in Latin-1, as headers were once."""
    headers = [(b"x-auth-subject", b"u1"), (b"x-auth-tenant", "Übersee".encode(coding))]
    service.answer = httpx.Response(200, headers=headers)
    principal = await service.auth().authenticate(asked())
    assert principal is not None
    assert principal.tenant == "Übersee"


async def test_kept_on_demand(service: Service) -> None:
    """Not by default. With a time, for identical headers, method and URI; without these for the headers alone."""
    plain, kept, blind = service.auth(), service.auth(ttl=10), service.auth(ttl=10, original=False)
    clock = Clock(0.0)
    kept._answers._clock = clock
    for auth, expected in ((plain, 3), (kept, 2), (blind, 1)):
        service.seen.clear()
        for path in ("/a", "/b", "/a"):
            assert await auth.authenticate(asked(path=path)) == U1
        assert len(service.seen) == expected
    assert "x-original-uri" not in service.seen[0].headers
    clock.now = 10.0
    service.answer = httpx.Response(403)
    for _ in range(2):
        with pytest.raises(Refused):
            await kept.authenticate(asked(path="/a"))
    assert len(service.seen) == 2


async def test_no_credentials(service: Service) -> None:
    """None of the headers: not asked. A value that no header can carry: refused."""
    auth = service.auth(forward=["authorization", "cookie"])
    assert await auth.authenticate(scope_of(("x-other", "1"))) is None
    with pytest.raises(Refused):
        await auth.authenticate(scope_of(("cookie", "a\nb: c")))
    assert service.seen == []
    assert await auth.authenticate(scope_of(("cookie", "a"))) == U1


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"sub":1}', '{"sub":""}', '{"sub":"u","scope":[1]}', "[" * 100_000])
async def test_bodies_without_a_principal(service: Service, body: str) -> None:
    """503: the service is not what it was said to be."""
    service.answer = httpx.Response(200, text=body)
    with pytest.raises(Problem) as refused:
        await service.auth(principal=principal_from_json()).authenticate(asked())
    assert refused.value.status == 503


@pytest.mark.parametrize("tenant", ["a\0b", "x" * 256, "https://issuer.example|ann", 1])
async def test_a_tenant_that_cannot_be_one(service: Service, tenant: object) -> None:
    """Likewise, in a body or a header."""
    service.answer = httpx.Response(200, json={"sub": "u1", "tenant": tenant})
    with pytest.raises(Problem) as refused:
        await service.auth(principal=principal_from_json()).authenticate(asked())
    assert refused.value.status == 503
    if isinstance(tenant, str):
        service.answer = httpx.Response(200, headers={"x-auth-subject": "u1", "x-auth-tenant": tenant})
        with pytest.raises(Problem) as refused:
            await service.auth(principal=principal_from_headers()).authenticate(asked())
        assert refused.value.status == 503


async def test_an_empty_tenant_is_none(service: Service) -> None:
    """Two without one do not share it."""
    service.answer = httpx.Response(200, json={"sub": "u1", "tenant": ""}, headers={"x-auth-subject": "u1"})
    for read in (principal_from_json(), principal_from_headers()):
        principal = await service.auth(principal=read).authenticate(asked())
        assert principal is not None
        assert principal.tenant is None
    assert Principal("u1", tenant="") == Principal("u1")


async def test_a_principal_from_a_body(service: Service) -> None:
    """Its members, under any names."""
    service.answer = httpx.Response(200, json={"id": "u1", "roles": ["read", "write"], "org": "t1", "x": 1})
    read = principal_from_json(subject="id", scopes="roles", tenant="org")
    principal = await service.auth(principal=read).authenticate(asked())
    assert principal == U1
    assert principal is not None
    assert principal.claims["x"] == 1
    service.answer = httpx.Response(200, headers={"remote-user": "u2"})
    read = principal_from_headers(subject="Remote-User")
    assert await service.auth(principal=read).authenticate(asked()) == Principal("u2")


async def test_over_the_frameworks_own_wire() -> None:
    """A real server over a real socket; one that is not there, and one that says nothing."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if b"silent" in seen[-1]:
            await reader.read()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nX-Auth-Subject: u1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    auth = ForwardAuth(f"http://127.0.0.1:{port}/check", timeout=5.0)
    silent = ForwardAuth(f"http://127.0.0.1:{port}/silent", timeout=0.05)
    gone = ForwardAuth(f"http://127.0.0.1:{refused_port()}/check")
    assert await auth.authenticate(asked()) == Principal("u1")
    assert seen[0].startswith(b"GET /check HTTP/1.1\r\n")
    for unavailable in (silent, gone):
        with pytest.raises(Problem) as refused:
            await unavailable.authenticate(asked())
        assert refused.value.status == 503
    for each in (auth, silent, gone):
        await each.aclose()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("wrong", [{"forward": []}, {"forward": ["host"]}, {"forward": ["a: b"]}, {"url": "ftp://x"}])
def test_declared_wrongly(wrong: dict[str, Any]) -> None:
    """Refused where it is written."""
    with pytest.raises(DeclarationError, match="ForwardAuth"):
        ForwardAuth(**{"url": "http://auth.test/", **wrong})


class Client:
    """The connection of a client, which can leave."""

    def __init__(self) -> None:
        self.when_left: Callable[[], None] | None = None
        self.left = False

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        raise NotImplementedError

    def leave(self) -> None:
        self.left = True
        if self.when_left is not None:
            self.when_left()


async def ask_as(client: Client, auth: ForwardAuth, value: str) -> Principal | None:
    with background_context(10) as context:
        context.exchange = client
        return await auth.authenticate(asked(value))


async def test_who_leaves_before_it_is_asked_takes_the_question_back() -> None:
    """What has been asked goes on, for whoever comes next; what waits is not asked once the last one has left."""
    seen: list[str] = []
    opened = asyncio.Event()

    async def slow(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        await opened.wait()
        return httpx.Response(200, headers=WHO)

    auth = ForwardAuth("http://auth.test/check", transport=httpx.MockTransport(slow), original=False, timeout=10, ttl=9)
    clients = [Client() for _ in range(MAX_CONNECTIONS + 4)]
    names = [*(f"busy {number}" for number in range(MAX_CONNECTIONS)), "gone", "shared", "shared", "stays"]
    asking = [asyncio.create_task(ask_as(*each)) for each in zip(clients, [auth] * len(names), names, strict=True)]
    while len(seen) < MAX_CONNECTIONS:
        await asyncio.sleep(0)
    for number in (0, MAX_CONNECTIONS, MAX_CONNECTIONS + 1):
        clients[number].leave()
        with pytest.raises(ClientDisconnected):
            await asking[number]
    with pytest.raises(ClientDisconnected):
        await ask_as(clients[0], auth, "late")
    assert len(auth._answers._under_way) == MAX_CONNECTIONS + 2
    opened.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [answer == U1 for answer in answers] == [
        number not in (0, MAX_CONNECTIONS, MAX_CONNECTIONS + 1) for number in range(len(names))
    ]
    assert seen == [*names[:MAX_CONNECTIONS], "shared", "stays"]
    assert await auth.authenticate(asked("busy 0")) == U1
    assert len(seen) == MAX_CONNECTIONS + 2
    assert all(client.when_left is None for client in clients)


async def test_a_question_taken_back_can_be_asked_again_at_once() -> None:
    opened = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await opened.wait()
        return httpx.Response(200, headers=WHO)

    auth = ForwardAuth("http://auth.test/check", transport=httpx.MockTransport(slow), original=False, timeout=10)
    busy = [asyncio.create_task(auth.authenticate(asked(f"{number}"))) for number in range(MAX_CONNECTIONS)]
    client = Client()
    first = asyncio.create_task(ask_as(client, auth, "x"))
    while not auth._waiting:
        await asyncio.sleep(0)
    client.leave()
    with pytest.raises(ClientDisconnected):
        await first
    again = asyncio.create_task(auth.authenticate(asked("x")))
    opened.set()
    assert set(await asyncio.gather(*busy, again)) == {U1}
    assert not auth._answers._under_way


async def test_no_turn_in_time() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    auth = ForwardAuth("http://auth.test/check", transport=httpx.MockTransport(never), timeout=0.01)
    answers = await asyncio.gather(
        *(auth.authenticate(asked(f"{number}")) for number in range(MAX_CONNECTIONS + 1)), return_exceptions=True
    )
    assert {answer.status for answer in answers if isinstance(answer, Problem)} == {503}
    assert len(answers) == MAX_CONNECTIONS + 1
