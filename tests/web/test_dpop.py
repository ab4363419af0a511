"""Tokens bound to the gateway's key (DPoP, RFC 9449): at the certified provider, and at a service that verifies proofs
by itself, from the RFC and ``cryptography`` alone."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import ECKey, OKPKey

from bff_core import (
    AnyOf,
    Bff,
    DeclarationError,
    OidcSessions,
    Page,
    Principal,
    ServiceClient,
    ServiceSettings,
    Settings,
    create_bff,
    get,
    post,
    required,
)
from bff_core.auth import ProofKey, ProvedWire, dpop
from bff_core.auth.ask import Asked
from bff_core.auth.oidc.client import TIMEOUT
from bff_core.errors import ConnectionLost
from bff_core.stores import MemoryKeyValueStore
from bff_core.wire import Http1Wire, WireResponse

from .fakes import ISSUER, SESSION_KEYS, SITE, Browser, Clock, Site
from .real import RealProvider, real_provider
from .test_real_provider import browser_of, client, walk

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

KEY, OTHER = (ECKey.generate_key("P-256").as_pem(private=True).decode() for _ in range(2))
OWN = {"sec-fetch-site": "same-origin", "x-csrf": "1"}
SECONDS = 4


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(decoded(text), "big")


def digest(value: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(value).digest()).rstrip(b"=").decode()


def verified(proof: str) -> tuple[dict[str, Any], str]:
    """The claims of a proof and its key's thumbprint (RFC 9449 section 4.3, RFC 7638)."""
    head, body, signature = proof.split(".")
    header = json.loads(decoded(head))
    assert set(header) == {"typ", "alg", "jwk"}
    assert header["typ"] == "dpop+jwt"
    jwk, signed, raw = header["jwk"], f"{head}.{body}".encode(), decoded(signature)
    if header["alg"] == "ES256":
        assert set(jwk) == {"kty", "crv", "x", "y"}, "and nothing private"
        key = ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1()).public_key()
        assert len(raw) == 64
        pair = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        key.verify(pair, signed, ec.ECDSA(hashes.SHA256()))
    else:
        assert (header["alg"], set(jwk)) == ("EdDSA", {"kty", "crv", "x"})
        ed25519.Ed25519PublicKey.from_public_bytes(decoded(jwk["x"])).verify(raw, signed)
    return json.loads(decoded(body)), digest(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode())


class Service:
    """A resource server (RFC 9449 section 7). It takes each proof once, and wants ``nonce`` in it when there is one."""

    def __init__(self, host: str = "http://notes.test") -> None:
        self.host = host
        self.nonce: str | None = None
        self.answers: list[int] = []
        self.seen: set[str] = set()
        self.calls: list[dict[str, Any]] = []
        self.plain: list[str | None] = []
        self.bound_to: set[str] = set()
        self.now = time.time

    def __call__(self, request: httpx.Request) -> httpx.Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if "dpop" not in request.headers:
            self.plain.append(request.headers.get("authorization"))
            return httpx.Response(200, json={"token": token})
        assert scheme == "DPoP"
        (proof,) = request.headers.get_list("dpop")
        claims, thumbprint = verified(proof)
        assert (claims["htm"], claims["htu"]) == (request.method, f"{self.host}{request.url.path}")
        assert abs(claims["iat"] - self.now()) < 60
        assert claims["jti"] not in self.seen, "a proof that was used already"
        self.seen.add(claims["jti"])
        assert claims["ath"] == digest(token.encode())
        if token.count(".") == 2:
            assert json.loads(decoded(token.split(".")[1]))["cnf"] == {"jkt": thumbprint}
        self.bound_to.add(thumbprint)
        self.calls.append(claims)
        if self.nonce is not None and claims.get("nonce") != self.nonce:
            challenge = 'DPoP error="use_dpop_nonce", error_description="a nonce, please"'
            return httpx.Response(401, headers={"www-authenticate": challenge, "dpop-nonce": self.nonce})
        headers = {} if self.nonce is None else {"dpop-nonce": self.nonce}
        return httpx.Response(self.answers.pop(0) if self.answers else 200, json={"token": token}, headers=headers)


class Notes(ServiceClient, service="notes"):
    @get("/notes/{note_id}")
    async def note(self, note_id: str, q: str = "x") -> dict[str, str]: ...

    @post("/notes/{note_id}")
    async def change(self, note_id: str) -> dict[str, str]: ...


class NotePage(Page):
    note = required(Notes.note)


class ChangePage(Page):
    note = required(Notes.change)


def make_gateway(auth: Any, transport: httpx.AsyncBaseTransport, url: str = "http://notes.test") -> Bff:
    settings = Settings(services={"notes": ServiceSettings(url=url, auth="relay")})
    app = create_bff("web", clients=[Notes], settings=settings, auth=auth, transport=transport)
    app.page("/api/notes/{note_id}", NotePage)
    app.page("/api/notes/{note_id}", ChangePage, method="POST")
    return app


# At the certified provider


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    bound = {"dpop_bound_access_tokens": True}
    with real_provider([client("bound", **bound)], seconds=SECONDS, dpop_nonces=True) as running:
        yield running


def sessions_of(provider: RealProvider, **options: Any) -> OidcSessions:
    return OidcSessions(
        issuer=provider.issuer,
        client_id="bound",
        client_secret="a secret of thirty-two characters or more",
        base_url=SITE,
        keys=SESSION_KEYS,
        scopes=["openid", "profile", "offline_access", "orders:read"],
        parameters={"prompt": "consent"},
        **options,
    )


@pytest.mark.parametrize("key", [KEY, OKPKey.generate_key("Ed25519").as_pem(private=True).decode()], ids=["EC", "OKP"])
async def test_bound_tokens_of_a_real_provider(provider: RealProvider, key: str) -> None:
    """It wants a nonce in every proof, for code and refresh token, and gives this client no bearer token."""
    service = Service()
    service.nonce = "of the service"
    app = make_gateway(sessions_of(provider, dpop_key=key), httpx.MockTransport(service))
    async with app.router.lifespan_context(app), browser_of(app) as browser:
        answer = await walk(browser)
        assert answer.status_code == 303, answer.text
        answer = await browser.get("/api/notes/1", headers=OWN)
        assert answer.status_code == 200, answer.text
        first = answer.json()["note"]["token"]
        assert [call.get("nonce") for call in service.calls] == [None, "of the service"]
        await asyncio.sleep(SECONDS + 0.1)
        answer = await browser.get("/api/notes/2?q=y", headers=OWN)
        assert answer.json()["note"]["token"] != first, "renewed"
        assert [call.get("nonce") for call in service.calls[2:]] == ["of the service"]
        assert len(service.bound_to) == 1


async def test_another_key_at_a_real_provider(provider: RealProvider) -> None:
    """Refresh tokens of a confidential client are bound to the client, not to the key (RFC 9449 section 5), so that the
    key can be changed without signing anybody out."""
    store, service = MemoryKeyValueStore(), Service()
    old, new = (
        make_gateway(sessions_of(provider, store=store, dpop_key=key), httpx.MockTransport(service))
        for key in (KEY, OTHER)
    )
    async with AsyncExitStack() as stack:
        for app in (old, new):
            await stack.enter_async_context(app.router.lifespan_context(app))
        before, after = [await stack.enter_async_context(browser_of(app)) for app in (old, new)]
        await walk(before)
        assert (await before.get("/api/notes/1", headers=OWN)).status_code == 200
        after.cookies = before.cookies
        refreshes = provider.count("grant.success", grant="refresh_token")
        answers = await asyncio.gather(*(after.get("/api/notes/1", headers=OWN) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
        assert len(service.bound_to) == 2
        await asyncio.to_thread(provider.wait_for, refreshes + 1, "grant.success")
        assert provider.count("grant.success", grant="refresh_token") == refreshes + 1


# At one that can be told to misbehave


class Binding:
    """Makes the fake provider bind tokens. ``nonce`` is what it wants in proofs, ``never`` has it want another,
    with ``status``; ``error`` is what it says instead."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.proofs: list[dict[str, Any]] = []
        self.nonce: str | None = None
        self.never = False
        self.status = 400
        self.error: str | None = None
        self.token_type = "DPoP"
        self._answer = site.provider.answer
        site.provider.answer = self.answer  # type: ignore[method-assign]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/token":
            assert "dpop" not in request.headers
            return await self._answer(request)
        if "dpop" in request.headers:
            claims, _ = verified(request.headers["dpop"])
            assert (claims["htm"], claims["htu"]) == ("POST", f"{ISSUER}/token")
            assert "ath" not in claims
            assert claims["jti"] not in {proof["jti"] for proof in self.proofs}
            self.proofs.append(claims)
            if self.never or (self.nonce is not None and claims.get("nonce") != self.nonce):
                headers = {"dpop-nonce": f"{self.nonce}{len(self.proofs) if self.never else ''}"}
                return httpx.Response(self.status, json={"error": "use_dpop_nonce"}, headers=headers)
        if self.error is not None:
            return httpx.Response(400, json={"error": self.error})
        found = await self._answer(request)
        if found.status_code != 200:
            return found
        return httpx.Response(200, json={**found.json(), "token_type": self.token_type})


@pytest.fixture
def binding(site: Site) -> Binding:
    return Binding(site)


@pytest.fixture
def service(site: Site) -> Service:
    made = Service()
    made.now = site.clock
    return made


@pytest.fixture
async def browser(site: Site, binding: Binding, service: Service) -> Browser:
    made = await enter(site, service)
    await made.sign_in(site.provider)
    return made


async def enter(site: Site, service: Service, url: str = "http://notes.test", **options: Any) -> Browser:
    sessions = site.sessions(**{"dpop_key": KEY, **options})
    app = make_gateway(sessions, httpx.MockTransport(service), url)
    await site.stack.enter_async_context(app.router.lifespan_context(app))
    return await site.browser(app)


async def test_the_code_is_bound_as_well(site: Site, binding: Binding, service: Service) -> None:
    browser = await enter(site, service)
    asked = parse_qs(urlsplit(await browser.begin()).query)
    await browser.sign_in(site.provider)
    await browser.fetch("/api/notes/1")
    assert asked["dpop_jkt"] == list(service.bound_to)


async def test_every_attempt_has_a_proof_of_its_own(browser: Browser, service: Service) -> None:
    """A service that takes each proof once would refuse a retry with the proof of the first attempt."""
    service.answers = [503]
    assert (await browser.fetch("/api/notes/1")).status_code == 200
    assert len(service.calls) == 2


@pytest.mark.parametrize(
    ("method", "repeatable", "again"), [("GET", True, True), ("GET", False, False), ("POST", True, False)]
)
async def test_a_proof_is_not_sent_again_over_another_connection(method: str, repeatable: bool, again: bool) -> None:
    """A service may have seen it, and takes it once, when a connection that was used before ends without an answer:
    what may be repeated, the wire repeats, with a new proof where there is one; once."""
    proofs: list[str | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                proofs.append(next((line for line in head.split("\r\n") if line.startswith("dpop: ")), None))
                if len(proofs) % 3 == 2:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def fetch(headers: bytes) -> Any:
        future = asyncio.get_running_loop().create_future()

        def done(response: Any, error: Any) -> None:
            future.set_result(error or response)

        wire.send(method, "/", headers, b"", 5, done, repeatable=repeatable)
        return await future

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        inner = Http1Wire(origin, connect_timeout=1, max_body=1000, max_connections=2)
        wire = ProvedWire(inner, origin, ProofKey(KEY, "key"))
        bound = b"x: y\r\nauthorization: DPoP token\r\n"
        for headers in (bound, b""):
            assert (await fetch(headers)).status == 200
            if again:
                assert (await fetch(headers)).status == 200
            else:
                assert isinstance(await fetch(headers), ConnectionLost)
                assert (await fetch(headers)).status == 200
        await wire.aclose()
    assert len(set(proofs[:3])) == 3
    assert proofs[3:] == [None] * 3


async def test_a_service_that_drops_every_proof() -> None:
    """Is sent two, and no more; what is new to it, and dropped, is a failure at once."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if len(heads) == 1:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async def fetch() -> Any:
        future = asyncio.get_running_loop().create_future()
        headers = b"x: y\r\nauthorization: DPoP token\r\n"
        wire.send("GET", "/", headers, b"", 5, lambda response, error: future.set_result(error or response))
        return await future

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        inner = Http1Wire(origin, connect_timeout=1, max_body=1000, max_connections=2)
        wire = ProvedWire(inner, origin, ProofKey(KEY, "key"))
        assert (await fetch()).status == 200
        for asked in (3, 4):
            assert isinstance(await fetch(), ConnectionLost)
            assert len(heads) == asked
        await wire.aclose()


async def test_a_nonce_is_learnt_and_learnt_anew(browser: Browser, service: Service) -> None:
    """Also for what is not idempotent: what was refused for want of a nonce was not carried out (section 9)."""
    service.nonce = "one"
    assert (await browser.fetch("/api/notes/1", "POST")).status_code == 200
    assert (await browser.fetch("/api/notes/1")).status_code == 200
    service.nonce = "two"
    assert (await browser.fetch("/api/notes/1")).status_code == 200
    nonces = [call.get("nonce") for call in service.calls]
    assert nonces == [None, "one", "one", "one", "two"]


async def test_a_service_that_is_never_content(browser: Browser, service: Service) -> None:
    """It is asked twice, not for ever."""
    service.nonce = "one"
    real = service.__call__

    def another(request: httpx.Request) -> httpx.Response:
        service.nonce = f"n{len(service.calls)}x"
        return real(request)

    browser.client._transport.app.upstreams["notes"].wire._inner._transport = httpx.MockTransport(another)  # type: ignore[attr-defined]
    assert (await browser.fetch("/api/notes/1")).status_code == 502
    assert len(service.calls) == 2


async def test_several_addresses(site: Site, binding: Binding) -> None:
    """Each has a nonce of its own, and is told its own address."""
    services = {host: Service(f"http://{host}.test") for host in ("a", "b")}
    for host, service in services.items():
        service.nonce, service.now = f"of {host}", site.clock
    browser = await enter(
        site,
        lambda request: services[request.url.host.removesuffix(".test")](request),  # type: ignore[arg-type]
        "http://a.test,http://b.test",
    )
    await browser.sign_in(site.provider)
    for _ in range(6):
        assert (await browser.fetch("/api/notes/1")).status_code == 200
    for service in services.values():
        nonces = [call.get("nonce") for call in service.calls]
        assert nonces == [None] + [service.nonce] * (len(nonces) - 1)
        assert len(nonces) > 1


@pytest.mark.parametrize("status", [400, 401])
async def test_the_providers_nonce_is_learnt(site: Site, binding: Binding, service: Service, status: int) -> None:
    """RFC 9449 section 8 has it with a 400; some say 401, as services do."""
    binding.nonce, binding.status = "of the provider", status
    browser = await enter(site, service)
    assert (await browser.sign_in(site.provider)).status_code == 303
    site.clock.now += 1000
    assert (await browser.fetch("/api/notes/1")).status_code == 200
    assert [proof.get("nonce") for proof in binding.proofs] == [None, "of the provider", "of the provider"]
    assert site.provider.refreshes == 1


async def test_one_deadline_for_both_tries(
    site: Site, binding: Binding, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that is slow is given as long as without proofs, and two tries together no longer than one."""
    given: list[float] = []
    ask = Asked.ask

    async def noted(self: Asked, method: str, headers: bytes, body: bytes, timeout: float) -> Any:
        if b"dpop: " in headers:
            given.append(timeout)
        return await ask(self, method, headers, body, timeout)

    monkeypatch.setattr(Asked, "ask", noted)
    binding.nonce = "of the provider"
    browser = await enter(site, service)
    assert (await browser.sign_in(site.provider)).status_code == 303
    first, second = given
    assert TIMEOUT / 2 < second < first <= TIMEOUT


async def test_a_provider_that_is_never_content(site: Site, binding: Binding, service: Service) -> None:
    """It is asked twice, not for ever; and that it takes no proof of ours says nothing about the user's grant."""
    browser = await enter(site, service)
    await browser.sign_in(site.provider)
    binding.never = True
    site.clock.now += 1000
    binding.proofs.clear()
    assert (await browser.fetch("/api/notes/1")).status_code == 503
    assert len(binding.proofs) == 2
    other = await enter(site, service)
    assert (await other.sign_in(site.provider)).status_code == 503
    binding.never, binding.error = False, "invalid_dpop_proof"  # our clock is wrong, say
    site.clock.now += 10
    assert (await browser.fetch("/api/notes/1")).status_code == 503
    binding.error = None
    site.clock.now += 10
    assert (await browser.fetch("/api/notes/1")).status_code == 200


async def test_a_provider_that_does_not_bind(site: Site, binding: Binding, service: Service) -> None:
    """A bearer token is not what was asked for: nobody is to believe that theft does no harm."""
    binding.token_type = "Bearer"
    browser = await enter(site, service)
    assert (await browser.sign_in(site.provider)).status_code == 503
    assert browser.session is None


async def test_a_provider_that_binds_unasked(site: Site, binding: Binding, service: Service) -> None:
    browser = await enter(site, service, dpop_key=None)
    assert (await browser.sign_in(site.provider)).status_code == 503


@pytest.mark.parametrize("before", [None, OTHER])
async def test_sessions_go_on_with_another_key(
    site: Site, binding: Binding, service: Service, before: str | None
) -> None:
    """Also from bearer tokens: the token of the session is renewed at once."""
    binding.token_type = "Bearer" if before is None else "DPoP"
    old = await enter(site, service, dpop_key=before)
    await old.sign_in(site.provider)
    assert (await old.fetch("/api/notes/1")).status_code == 200
    assert len(service.plain) == (1 if before is None else 0)
    binding.token_type = "DPoP"
    new = await enter(site, service)
    new.client.cookies = old.client.cookies
    answers = await asyncio.gather(*(new.fetch("/api/notes/1") for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    assert site.provider.refreshes == 1


async def test_what_cannot_be_renewed_ends_with_its_key(site: Site, binding: Binding, service: Service) -> None:
    site.provider.offline = False
    old = await enter(site, service, dpop_key=OTHER)
    await old.sign_in(site.provider)
    new = await enter(site, service)
    new.client.cookies = old.client.cookies
    assert (await old.fetch("/api/notes/1")).status_code == 200
    assert (await new.fetch("/api/notes/1")).status_code == 401


async def test_signing_out_with_another_key_ends_it_for_all(site: Site, binding: Binding, service: Service) -> None:
    """Also what the replica that is asked cannot read."""
    site.provider.offline = False
    old = await enter(site, service, dpop_key=OTHER)
    await old.sign_in(site.provider)
    new = await enter(site, service)
    new.client.cookies = httpx.Cookies(old.client.cookies)
    assert (await new.fetch("/auth/logout", "POST")).status_code == 200
    assert (await old.fetch("/api/notes/1")).status_code == 401


async def test_a_key_is_changed_while_the_provider_is_down(site: Site, binding: Binding, service: Service) -> None:
    """A replica that cannot use the token leaves it as it is, for those that can."""
    site.provider.lasts = 3600
    old = await enter(site, service, dpop_key=OTHER)
    await old.sign_in(site.provider)
    new = await enter(site, service)
    assert (await new.navigate("/auth/login")).status_code == 303  # it knows the provider
    new.client.cookies = httpx.Cookies(old.client.cookies)
    site.clock.now += 70
    site.provider.down = True
    assert (await new.fetch("/api/notes/1")).status_code == 503
    assert (await old.fetch("/api/notes/1")).status_code == 200


class Brought:
    """Somebody who comes with a bearer token, as an app does."""

    challenge = "Bearer"
    scheme = {"type": "http", "scheme": "bearer"}  # noqa: RUF012 - as the protocol has it

    async def authenticate(self, scope: Any) -> Principal | None:
        found = dict(scope["headers"]).get(b"authorization")
        return None if found is None else Principal("app", token=found.decode().removeprefix("Bearer "))

    async def aclose(self) -> None: ...


async def test_a_bearer_token_that_was_brought_stays_one(site: Site, binding: Binding, service: Service) -> None:
    """Whatever it looks like: it is the client's, not the gateway's."""
    app = make_gateway(AnyOf(Brought(), site.sessions(dpop_key=KEY)), httpx.MockTransport(service))
    await site.stack.enter_async_context(app.router.lifespan_context(app))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE) as caller:
        assert (await caller.get("/api/notes/1", headers={"authorization": "Bearer brought"})).status_code == 200
    assert service.plain == ["Bearer brought"]
    assert service.calls == []


async def test_what_is_off_is_not_there(site: Site) -> None:
    service = Service()
    browser = await enter(site, service, dpop_key=None)
    answer = await browser.sign_in(site.provider)
    assert "dpop" not in answer.headers["location"]
    assert (await browser.fetch("/api/notes/1")).status_code == 200
    assert service.plain == [f"Bearer {site.provider.issued[-1]}"]
    app: Bff = browser.client._transport.app  # type: ignore[attr-defined]
    assert not isinstance(app.upstreams["notes"].wire, ProvedWire)


def test_a_nonce_that_is_too_long_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not used, so that calls fail that need it: somebody has to learn why."""
    response = WireResponse(401, [(b"dpop-nonce", b"n" * 1025)], b"")
    log = Mock()
    monkeypatch.setattr(dpop, "log", log)
    for _ in range(2):
        assert dpop.nonce_of(response, "https://long.test") is None
    assert dpop.nonce_of(WireResponse(401, [(b"dpop-nonce", b"n" * 1024)], b""), "https://short.test") == "n" * 1024
    log.warning.assert_called_once_with("dpop.nonce_too_long", address="https://long.test", longest=1024)


def test_a_key_that_is_none() -> None:
    with pytest.raises(DeclarationError, match="dpop_key"):
        OidcSessions(issuer=ISSUER, client_id="web", client_secret="x", base_url=SITE, dpop_key="x")


def test_the_service_would_notice() -> None:
    """What verifies here is not made to say yes."""
    proof = ProofKey(KEY, "key", Clock()).header("GET", "http://x/", None).decode().removeprefix("dpop: ").strip()
    head, body, signature = proof.split(".")
    other = ProofKey(OTHER, "key", Clock()).header("GET", "http://x/", None).decode().removeprefix("dpop: ").strip()
    verified(proof)
    with pytest.raises(InvalidSignature):
        verified(f"{head}.{body}.{other.split('.')[2]}")
    with pytest.raises(InvalidSignature):
        verified(f"{head}.{other.split('.')[1]}.{signature}")
