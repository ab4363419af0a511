"""Who may come in at a gateway: several ways, scopes, policies; what is answered, and what the security log says."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Security
from pydantic import BaseModel

from bff_core import (
    AnyOf,
    ApiKey,
    ApiKeys,
    Authorizer,
    AuthorizerRequest,
    BearerJwt,
    Bff,
    DeclarationError,
    Page,
    Principal,
    Problem,
    Refused,
    ServiceClient,
    ServiceSettings,
    Settings,
    authenticated,
    create_bff,
    get,
    new_api_key,
    optional,
    required,
    section,
)
from bff_core.testing import FakeServices, bff_client

from .issuer import AUDIENCE, ISSUER, KEYS, Issuer, Recorder, bearer, scope_of

KEY = new_api_key()
KEYS_OF_PARTNERS = [ApiKey(sha256=hashlib.sha256(KEY.encode()).hexdigest(), partner="acme")]
BEARER, API_KEY = "Bearer", 'ApiKey realm="partner"'
INVALID = 'Bearer error="invalid_token"'


class Note(BaseModel):
    text: str


class Notes(ServiceClient, service="notes"):
    @get("/note")
    async def note(self) -> Note: ...

    @get("/secret")
    async def secret(self) -> Note: ...


class NotePage(Page):
    note = required(Notes.note)


class Guarded(Page):
    """The note is for members, the secret for admins, its length for whoever has the secret."""

    note = required(Notes.note, allow=lambda principal: "member" in principal.scopes)
    secret = optional(Notes.secret, allow=lambda principal, note: "admin" in principal.scopes and note.text != "")

    @section(optional=True, fallback=0)
    def length(self, secret: Note) -> int:
        return len(secret.text)


class Truthy(Page):
    note = required(Notes.note, allow=lambda principal: principal.scopes)  # type: ignore[arg-type,return-value]  # on purpose


@pytest.fixture
def services() -> FakeServices:
    services = FakeServices("notes")
    services["notes"].get("/note").respond(json={"text": "n"})
    services["notes"].get("/secret").respond(json={"text": "s"})
    return services


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def app(services: FakeServices, issuer: Issuer) -> Bff:
    settings = Settings(services={"notes": ServiceSettings(**services.settings["notes"])})
    auth = AnyOf(bearer(issuer), ApiKeys(KEYS_OF_PARTNERS))
    app = create_bff("t", settings=settings, clients=[Notes], auth=auth, transport=services.transport)
    app.page("/public", NotePage, public=True)
    app.page("/private", NotePage)
    app.page("/scoped", NotePage, scopes=["read", "write"])
    app.page("/tenant", NotePage, allow=lambda principal: principal.tenant == "t1")
    app.page("/yes", NotePage, allow=lambda _: "yes")  # type: ignore[arg-type,return-value]  # on purpose
    app.page("/guarded", Guarded)
    app.page("/truthy", Truthy)

    @app.get("/plain")
    async def plain(principal: Annotated[Principal, Security(authenticated, scopes=["admin"])]) -> str:
        return principal.subject

    return app


@pytest.fixture
async def client(app: Bff) -> AsyncIterator[httpx.AsyncClient]:
    async with bff_client(app) as client:
        yield client


def token(issuer: Issuer, **claims: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {issuer.token(**claims)}"}


@pytest.fixture
def security(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The security log."""
    recorder = Recorder()
    monkeypatch.setattr("bff_core.telemetry.security.log", recorder)
    return recorder


async def test_several_ways(client: httpx.AsyncClient, issuer: Issuer) -> None:
    """A bearer token, a key in its header, a key as a bearer token: each of them lets in."""
    for headers in (token(issuer), {"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        assert (await client.get("/private", headers=headers)).status_code == 200
    assert (await client.get("/public")).status_code == 200


async def test_challenges(client: httpx.AsyncClient, issuer: Issuer) -> None:
    """All of them; invalid_token only for a token (RFC 6750 section 3.1)."""
    for headers, challenge in (
        ({}, f"{BEARER}, {API_KEY}"),
        ({"authorization": "Basic dTE6eA=="}, f"{BEARER}, {API_KEY}"),
        (token(issuer, exp=1), f"{INVALID}, {API_KEY}"),
        ({"authorization": "Bearer nonsense"}, f"{INVALID}, {API_KEY}"),
        ({"x-api-key": KEY[:-1]}, f"{BEARER}, {API_KEY}"),
        ({"authorization": f"Bearer {KEY[:-1]}"}, f"{BEARER}, {API_KEY}"),
    ):
        answer = await client.get("/private", headers=headers)
        assert answer.status_code == 401
        assert answer.headers.get_list("www-authenticate") == [challenge]
        assert answer.json()["detail"] == "Credentials are missing or not valid."


async def test_the_first_whose_credentials_are_there_decides(client: httpx.AsyncClient, issuer: Issuer) -> None:
    """A bad token is not made good by a good key beside it."""
    assert (await client.get("/private", headers={**token(issuer, exp=1), "x-api-key": KEY})).status_code == 401
    assert (await client.get("/private", headers={**token(issuer), "x-api-key": "wrong"})).status_code == 200


async def test_two_issuers() -> None:
    """A token goes to the one who issued it; a token of neither is refused by the first."""
    one, other = Issuer(), Issuer()
    other.keys = [KEYS["k2"]]
    auth = AnyOf(bearer(one), AnyOf(bearer(other, issuer="https://other.test")))
    for who, iss in ((one, ISSUER), (other, "https://other.test")):
        principal = await auth.authenticate(scope_of(("authorization", f"Bearer {who.token(iss=iss)}")))
        assert principal is not None
        assert principal.issuer == iss
    for headers in (token(one, iss="https://third.test"), token(one, iss="https://other.test")):
        with pytest.raises(Refused) as refused:
            await auth.authenticate(scope_of(("authorization", headers["authorization"])))
        assert refused.value.status == 401
    await auth.aclose()


@pytest.mark.parametrize(
    ("path", "claims", "status"),
    [
        ("/scoped", {}, 200),
        ("/scoped", {"scope": "write read more"}, 200),
        ("/scoped", {"scope": "read"}, 403),
        ("/scoped", {"scope": "read:write"}, 403),
        ("/scoped", {"scope": None}, 403),
        ("/tenant", {"tenant": "t1"}, 200),
        ("/tenant", {"tenant": "t2"}, 403),
        ("/tenant", {}, 403),
        ("/yes", {}, 403),
        ("/plain", {"scope": "admin"}, 200),
        ("/plain", {}, 403),
        ("/guarded", {"scope": "member"}, 200),
        ("/guarded", {"scope": "admin"}, 403),
        ("/truthy", {"scope": "member"}, 403),
    ],
)
async def test_scopes_and_policies(
    client: httpx.AsyncClient, issuer: Issuer, path: str, claims: dict[str, Any], status: int
) -> None:
    """Those who may, may; to the others the answer is one and the same, whatever they lack."""
    answer = await client.get(path, headers=token(issuer, **claims))
    assert answer.status_code == status
    if status == 403:
        problem = answer.json()
        del problem["instance"]
        assert problem == {
            "type": "about:blank",
            "title": "Forbidden",
            "status": 403,
            "detail": "This is not allowed.",
        }
        assert "www-authenticate" not in answer.headers


async def test_sections_that_not_everybody_gets(
    client: httpx.AsyncClient, services: FakeServices, issuer: Issuer
) -> None:
    """An optional section is left out, and what depends on it, without being called or called a failure."""
    member = await client.get("/guarded", headers=token(issuer, scope="member"))
    assert member.json() == {"note": {"text": "n"}, "secret": None, "length": 0}
    assert [request.url.path for request in services.requests] == ["/note"]
    admin = await client.get("/guarded", headers=token(issuer, scope="member admin"))
    assert admin.json() == {"note": {"text": "n"}, "secret": {"text": "s"}, "length": 1}


async def test_refused_before_anything_is_called(
    client: httpx.AsyncClient, services: FakeServices, issuer: Issuer
) -> None:
    """Neither a 401 nor a 403 costs a service anything."""
    await client.get("/private")
    for path in ("/scoped", "/tenant", "/guarded"):
        await client.get(path, headers=token(issuer, scope="x"))
    assert services.requests == []


async def test_openapi(app: Bff) -> None:
    """Each way of authentication, the scopes of each page, and which answers to expect."""
    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "gateway": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "gateway-2": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    pages = {path: item["get"] for path, item in document["paths"].items()}
    assert "security" not in pages["/public"]
    assert pages["/private"]["security"] == [{"gateway": []}, {"gateway-2": []}]
    assert pages["/scoped"]["security"] == [{"gateway": ["read", "write"]}, {"gateway-2": ["read", "write"]}]
    for path, expected in (
        ("/public", []),
        ("/private", ["401"]),
        ("/scoped", ["401", "403"]),
        ("/tenant", ["401", "403"]),
    ):
        assert [status for status in pages[path]["responses"] if status in ("401", "403")] == expected
    assert "403" in pages["/guarded"]["responses"]


async def test_the_security_log(
    app: Bff, client: httpx.AsyncClient, issuer: Issuer, security: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was refused what and why, by request id, and never with which credentials, in no log at all."""
    edge = Recorder()
    monkeypatch.setattr("bff_core.edge.log", edge)
    monkeypatch.setattr("sys.stdout", out := io.StringIO())
    expired, good = token(issuer, exp=1), token(issuer, scope="x", tenant="t2")
    ids = [
        (await client.get(path, headers=headers)).headers["x-request-id"]
        for path, headers in (
            ("/private", {}),
            ("/private", expired),
            ("/private?k=1", {"x-api-key": KEY[:-1]}),
            ("/tenant", good),
            ("/guarded", good),
            ("/plain", good),
        )
    ]
    lines = security.lines
    assert [line["request_id"] for line in lines] == ids
    assert [(line["kind"], line["reason"], line["route"], line["subject"]) for line in lines] == [
        ("authentication_failed", "no_credentials", "/private", None),
        ("authentication_failed", "expired", "/private", None),
        ("authentication_failed", "key_form", "/private", None),
        ("authorization_denied", "not_allowed", "/tenant", "u1"),
        ("authorization_denied", "section_not_allowed", "/guarded", "u1"),
        ("authorization_denied", "missing_scope", "/plain", "u1"),
    ]
    assert {(line["event"], line["client"], line["method"]) for line in lines} == {("security", "127.0.0.1", "GET")}
    assert lines[3]["tenant"] == "t2"
    app.access.flush()
    text = json.dumps([*lines, *edge.lines]) + out.getvalue()
    assert text.count('"request"') == len(ids)
    for secret in (KEY[:-1], expired["authorization"][7:], good["authorization"][7:]):
        assert secret[-20:] not in text
    await client.get("/private", headers=token(issuer))
    await client.get("/public")
    assert len(lines) == 6


async def test_an_outage_is_no_security_event(services: FakeServices, security: Recorder) -> None:
    """503 from the page, with when to come again and without a challenge."""

    async def fails(_: AuthorizerRequest) -> Principal | None:
        raise RuntimeError

    settings = Settings(services={"notes": ServiceSettings(**services.settings["notes"])})
    app = create_bff("t", settings=settings, clients=[Notes], auth=Authorizer(fails), transport=services.transport)
    app.page("/private", NotePage)
    async with bff_client(app) as client:
        answer = await client.get("/private", headers={"authorization": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "www-authenticate" not in answer.headers
    assert security.lines == []


async def _async_policy(_: Principal) -> bool:
    return False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"public": True, "scopes": ["x"]}, "public"),
        ({"public": True, "allow": lambda _: True}, "public"),
        ({"scopes": "orders:read"}, r"scopes=\['orders:read'\]"),
        ({"allow": _async_policy}, "async"),
    ],
)
def test_doors_that_would_stand_open(app: Bff, options: dict[str, Any], message: str) -> None:
    """Declarations that look like a check and are none are refused."""
    with pytest.raises(DeclarationError, match=message):
        app.page("/x", NotePage, **options)


def test_sections_policies_are_checked_too() -> None:
    """An async one, and one that needs what is not there."""
    with pytest.raises(DeclarationError, match=r"Async\.note: allow= is async"):

        class Async(Page):
            note = required(Notes.note, allow=_async_policy)

    with pytest.raises(DeclarationError, match=r"Unknown\.note: the function for 'allow' needs 'nobody'"):

        class Unknown(Page):
            note = required(Notes.note, allow=lambda nobody: True)  # noqa: ARG005

    app = create_bff("t", settings=Settings(services={"notes": {"url": "http://n"}}), clients=[Notes])
    with pytest.raises(DeclarationError, match="cannot be public"):
        app.page("/x", Guarded, public=True)


def test_an_empty_any_of() -> None:
    """Would let in nobody, which nobody means."""
    with pytest.raises(DeclarationError):
        AnyOf()


def test_a_refusal_is_a_problem() -> None:
    """Its reason stays inside."""
    refused = Refused(403, "missing_scope")
    assert isinstance(refused, Problem)
    assert b"missing_scope" not in refused.body("r1")
    assert isinstance(BearerJwt(issuer=ISSUER, audience=AUDIENCE, jwks_url="http://x/").scheme, dict)
