"""How services learn for whom they are called, and that nobody else can tell them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import parse_qs

import httpx
import pytest
from fastapi import Header
from joserfc import jwt
from joserfc.jwk import OctKey
from pydantic import BaseModel, SecretStr, ValidationError

from bff_core import (
    Bff,
    ExchangeSettings,
    Page,
    Principal,
    ServiceClient,
    ServiceSettings,
    Settings,
    SettingsError,
    create_bff,
    get,
    optional,
    post,
    required,
    section,
)
from bff_core.auth import ExchangedToken, ExchangeFailed, SignedPrincipal
from bff_core.testing import FakeServices, bff_client

from .issuer import Clock, Issuer, Recorder, bearer

SECRET = "s3cr3t of the gateway & more"
SIGNING_KEY = "0123456789abcdef0123456789abcdef"
EXCHANGE = ExchangeSettings(
    token_url="http://identity.test/token", client_id="bff web", client_secret=SecretStr(SECRET)
)


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/note")
    async def note(self) -> Note: ...

    @get("/notes", batch="ids", key="text")
    async def many(self, ids: list[str]) -> list[Note]: ...

    @post("/note")
    async def add(self) -> Note: ...


class NotePage(Page):
    note = required(Notes.note)


class ManyPage(Page):
    notes = required(Notes.many, ids=lambda: ["a", "b"])
    again = required(Notes.many, ids=lambda: ["b"])


class AddPage(Page):
    note = required(Notes.add)


class OptionalPage(Page):
    note = optional(Notes.note, timeout=0.2)


class OwnPage(Page):
    @section
    async def note(self, notes: Notes) -> Note:
        return await notes.note()


class Exchange:
    """The token endpoint: gives ``answer``."""

    def __init__(self) -> None:
        self.seen: list[dict[str, list[str]]] = []
        self.headers: list[httpx.Headers] = []
        self.answer: dict[str, Any] | httpx.Response | Exception = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(parse_qs(request.content.decode()))
        self.headers.append(request.headers)
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, httpx.Response):
            return self.answer
        good = {"access_token": f"exchanged-{len(self.seen)}", "token_type": "Bearer", "expires_in": 300}
        return httpx.Response(200, json=good | self.answer)


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("notes", "identity")
    services["notes"].get("/note").respond(json={"text": "n"})
    services["notes"].post("/note").respond(json={"text": "n"})
    services["notes"].get("/notes").respond(json=[{"text": "a"}, {"text": "b"}])
    return services


@pytest.fixture
def exchange(services: FakeServices) -> Exchange:
    exchange = Exchange()
    services["identity"].post("/token").mock(side_effect=exchange)
    return exchange


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@asynccontextmanager
async def gateway(
    services: FakeServices, issuer: Issuer, auth: str, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    service = ServiceSettings(**services.settings["notes"], auth=auth, signing_key=SIGNING_KEY, **settings)
    loaded = Settings(services={"notes": service}, exchange=EXCHANGE)
    app: Bff = create_bff("web", settings=loaded, clients=[Notes], auth=bearer(issuer), transport=services.transport)
    app.page("/public", NotePage, public=True)
    app.page("/note", NotePage)
    app.page("/many", ManyPage)
    app.page("/add", AddPage, method="POST")
    app.page("/optional", OptionalPage)
    app.page("/own", OwnPage)
    async with bff_client(app) as client:
        yield client


def headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def sent(services: FakeServices) -> list[httpx.Headers]:
    return [request.headers for request in services.requests if request.url.host == "notes.test"]


@pytest.mark.parametrize("auth", ["none", "relay", "exchange", "signed"])
async def test_a_clients_own_headers_never_pass(
    services: FakeServices, exchange: Exchange, issuer: Issuer, auth: str
) -> None:
    """Whatever it sends, on public pages and private ones: services get what the gateway says, or nothing."""
    forged = {"x-principal": "forged", "x-user": "admin", "cookie": "forged", "x-auth-subject": "admin"}
    token = issuer.token()
    async with gateway(services, issuer, auth) as client:
        assert (await client.get("/public", headers=forged | {"authorization": "Bearer forged"})).status_code == 200
        assert (await client.get("/note", headers=forged | headers(token))).status_code == 200
    public, private = sent(services)
    for got in (public, private):
        assert not {"cookie", "x-user", "x-auth-subject"} & set(got)
        assert "forged" not in str(got.raw)
    assert not {"authorization", "x-principal"} & set(public)
    expected = {"none": set(), "relay": {"authorization"}, "exchange": {"authorization"}, "signed": {"x-principal"}}
    assert {"authorization", "x-principal"} & set(private) == expected[auth]


async def test_relay(services: FakeServices, issuer: Issuer) -> None:
    """The token as it came, with every kind of call; to nobody else."""
    token = issuer.token()
    async with gateway(services, issuer, "relay") as client:
        for path in ("/note", "/many", "/own"):
            assert (await client.get(path, headers=headers(token))).status_code == 200
        assert (await client.post("/add", headers=headers(token))).status_code == 200
    assert [got["authorization"] for got in sent(services)] == [f"Bearer {token}"] * 4


async def test_signed(services: FakeServices, issuer: Issuer) -> None:
    """What the service gets verifies with its key, for itself alone, for a minute."""
    async with gateway(services, issuer, "signed", audience="notes-service") as client:
        for _ in range(2):
            await client.get("/note", headers=headers(issuer.token(tenant="t1")))
    first, second = sent(services)
    assert first["x-principal"] == second["x-principal"]
    token = jwt.decode(first["x-principal"], OctKey.import_key(SIGNING_KEY.encode()), algorithms=["HS256"])
    claims = token.claims
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == {
        "iss": "web",
        "aud": "notes-service",
        "sub": "u1",
        "kind": "user",
        "scope": "read write",
        "tenant": "t1",
        "sub_iss": "https://issuer.test",
    }


def test_signed_anew_in_time() -> None:
    """A service never gets one that is about to expire; principals never get one another's."""
    clock = Clock(1000.0)
    signed = SignedPrincipal(SIGNING_KEY, issuer="web", audience="notes", clock=clock)
    one, other = Principal("u1"), Principal("u1", tenant="t2")
    first = signed.ready(one)
    clock.now += 29
    assert signed.ready(one) == first
    assert signed.ready(other) != first
    clock.now += 1
    assert signed.ready(one) != first
    assert signed.ready(Principal("u1\r\nx: 1")).count(b"\r\n") == 1


async def test_exchange(services: FakeServices, exchange: Exchange, issuer: Issuer) -> None:
    """As RFC 8693 says, with the gateway's own secret; one exchange for a token until it expires."""
    one, other = issuer.token(), issuer.token(sub="u2")
    async with gateway(services, issuer, "exchange", audience="api://notes", scope="notes:read") as client:
        answers = await asyncio.gather(*(client.get("/many", headers=headers(one)) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        await client.get("/note", headers=headers(one))
        await client.get("/note", headers=headers(other))
    assert exchange.seen[0] == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [one],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "requested_token_type": ["urn:ietf:params:oauth:token-type:access_token"],
        "audience": ["api://notes"],
        "scope": ["notes:read"],
    }
    basic = base64.b64decode(exchange.headers[0]["authorization"].removeprefix("Basic ")).decode()
    assert basic == "bff+web:s3cr3t+of+the+gateway+%26+more"
    assert [seen["subject_token"] for seen in exchange.seen] == [[one], [other]]
    got = [entry["authorization"] for entry in sent(services)]
    assert set(got[:-1]) == {"Bearer exchanged-1"}
    assert got[-1] == "Bearer exchanged-2"
    assert one not in str([request.headers.raw for request in services.requests])


async def test_an_exchanged_token_ends_before_it_expires(exchange: Exchange) -> None:
    """Ten seconds before; one without a lifetime is used once."""
    clock = Clock(0.0)
    transport = httpx.MockTransport(exchange)
    tokens = ExchangedToken(EXCHANGE, audience="notes", transport=transport, clock=clock)
    principal = Principal("u1", token="t")
    assert tokens.ready(principal) is None
    assert await tokens.obtain(principal) == b"authorization: Bearer exchanged-1\r\n"
    clock.now = 289.9
    assert tokens.ready(principal) == b"authorization: Bearer exchanged-1\r\n"
    clock.now = 290.0
    assert tokens.ready(principal) is None
    for lasts in (None, 5, True, "300", -1):
        exchange.answer = {"expires_in": lasts}
        await tokens.obtain(Principal("u1", token=f"t{lasts}"))
        assert tokens.ready(Principal("u1", token=f"t{lasts}")) is None
    assert tokens.ready(Principal("partner", "api_key")) == b""
    assert await tokens.obtain(Principal("partner", "api_key")) == b""
    await tokens.aclose()


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (httpx.ConnectError("x"), 2),
        (httpx.Response(503), 2),
        (httpx.Response(400, json={"error": "invalid_target", "error_description": "t0k3n"}), 1),
        (httpx.Response(401, json={"error": "<script>"}), 1),
        (httpx.Response(302, headers={"location": "http://evil.test"}), 1),
        (httpx.Response(200, text="["), 2),
        ({"access_token": "a\r\nx-admin: 1"}, 2),
        ({"access_token": None}, 2),
        ({"token_type": "DPoP"}, 2),
        ({"token_type": None}, 2),
    ],
)
async def test_exchanges_that_fail(
    services: FakeServices,
    exchange: Exchange,
    issuer: Issuer,
    answer: Any,
    asked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service is not called: 503 for a required section, a fallback for an optional one. A refusal is remembered
    for a moment, so that the endpoint is not asked for every request; nothing secret is logged."""
    log = Recorder()
    monkeypatch.setattr("bff_core.auth.exchange.log", log)
    exchange.answer = answer
    token = issuer.token()
    async with gateway(services, issuer, "exchange") as client:
        assert (await client.get("/note", headers=headers(token))).status_code == 503
        degraded = await client.get("/optional", headers=headers(token))
        assert degraded.json() == {"note": None, "_degraded": ["note"]}
        assert (await client.get("/public")).status_code == 200
    assert len(exchange.seen) == asked
    assert len(sent(services)) == 1
    assert log.lines
    for secret in (SECRET, token, "t0k3n", "script"):
        assert secret not in str(log.lines)


async def test_a_slow_exchange(services: FakeServices, exchange: Exchange, issuer: Issuer) -> None:
    """Takes no longer than the section may, and goes on for whoever comes next."""
    exchange.gate.clear()
    token = issuer.token()
    async with gateway(services, issuer, "exchange") as client:
        answer = await client.get("/optional", headers=headers(token))
        assert answer.json()["_degraded"] == ["note"]
        exchange.gate.set()
        assert (await client.get("/note", headers=headers(token))).status_code == 200
    assert len(exchange.seen) == 1


async def test_whose_answers_are_cached(services: FakeServices, issuer: Issuer) -> None:
    """Another subject, tenant, issuer or set of scopes is another's answer; a new token of the same user is not."""
    route = services["notes"].get("/note").respond(json={"text": "n"}, headers={"cache-control": "max-age=60"})
    async with gateway(services, issuer, "relay") as client:
        variants = [{}, {"sub": "u2"}, {"tenant": "t1"}, {"scope": "read"}]
        for count, claims in enumerate(variants, 1):
            for jti in ("1", "2"):
                await client.get("/note", headers=headers(issuer.token(jti=jti, **claims)))
            assert route.call_count == count
        await client.get("/public")
        assert route.call_count == len(variants) + 1


async def test_calls_under_way_are_shared_by_the_same_alone(services: FakeServices, issuer: Issuer) -> None:
    """With other scopes, another call."""
    tokens = [issuer.token(scope=scope) for scope in ("read", "write", "read", "write")]
    gate = asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        await gate.wait()
        return httpx.Response(200, json={"text": "n"})

    services["notes"].get("/note").mock(side_effect=slow)
    async with gateway(services, issuer, "relay") as client:
        asked = [asyncio.create_task(client.get("/note", headers=headers(token))) for token in tokens]
        for _ in range(200):
            await asyncio.sleep(0)
        gate.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert sorted(got["authorization"] for got in sent(services)) == sorted(f"Bearer {t}" for t in tokens[:2])


async def test_vary_on_what_the_gateway_sends(services: FakeServices, issuer: Issuer) -> None:
    """A service that varies on Authorization is asked for each token; the cache keeps a digest, not the token."""
    answer = {"cache-control": "max-age=60", "vary": "authorization"}
    route = services["notes"].get("/note").respond(json={"text": "n"}, headers=answer)
    one, other = issuer.token(jti="1"), issuer.token(jti="2")
    service = ServiceSettings(**services.settings["notes"], auth="relay")
    app = create_bff(
        "web",
        settings=Settings(services={"notes": service}),
        clients=[Notes],
        auth=bearer(issuer),
        transport=services.transport,
    )
    app.page("/note", NotePage)
    async with bff_client(app) as client:
        for token in (one, one, other):
            await client.get("/note", headers=headers(token))
        assert route.call_count == 2
        cache = app.clients[Notes].bound["note"].cache
        assert cache is not None
        kept = str([stored.vary for stored, *_ in cache.memory._entries.values()])
        assert "authorization" in kept
        assert other not in kept


def test_principals_mark_what_is_theirs() -> None:
    """The same for the same, in every process; of its token nothing is in it."""
    one = Principal("u1", scopes=frozenset({"b", "a"}), issuer="i", token="t0k3n")
    assert one.whose == Principal("u1", scopes=frozenset({"a", "b"}), issuer="i").whose
    assert b"t0k3n" not in one.whose
    variants = [
        Principal("u2", issuer="i"),
        Principal("u1", "api_key"),
        Principal("u1", tenant="i"),
        Principal("u1", issuer="i"),
        Principal("u1", issuer="j"),
    ]
    assert len({principal.whose for principal in [one, *variants]}) == 6


class Sends(ServiceClient, service="notes"):
    @get("/x")
    async def x(self, x_principal: Annotated[str, Header()]) -> Note: ...


def test_settings_that_cannot_be(services: FakeServices) -> None:
    """An exchange without an endpoint, a signature without a key, an operation that would say who it is itself."""
    service = ServiceSettings(**services.settings["notes"], auth="exchange")
    with pytest.raises(SettingsError, match="BFF_EXCHANGE__TOKEN_URL"):
        create_bff("t", settings=Settings(services={"notes": service}), clients=[Notes])
    for wrong in ({"auth": "signed"}, {"auth": "signed", "signing_key": "short"}, {"auth": "basic"}):
        with pytest.raises(ValidationError):
            ServiceSettings(**services.settings["notes"], **wrong)
    service = ServiceSettings(**services.settings["notes"], auth="signed", signing_key=SIGNING_KEY)
    with pytest.raises(SettingsError, match=r"sends the header x-principal, which Sends\.x sends itself"):
        create_bff("t", settings=Settings(services={"notes": service}), clients=[Sends])
    assert SECRET not in repr(Settings(exchange=EXCHANGE))
    assert SIGNING_KEY not in repr(service)


async def test_too_many_exchanges_at_once(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of the call, as any other."""
    monkeypatch.setattr("bff_core.auth.expiring.MAX_UNDER_WAY", 0)
    tokens = ExchangedToken(EXCHANGE, audience="notes", transport=httpx.MockTransport(exchange))
    with pytest.raises(ExchangeFailed):
        await tokens.obtain(Principal("u1", token="t"))
    await tokens.aclose()
