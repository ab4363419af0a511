"""What every answer says to browsers and caches, and which hosts a gateway answers for."""

from __future__ import annotations

import pytest
from starlette.responses import HTMLResponse

from bff_core import Bff, Hardening, Settings, SettingsError, create_bff
from bff_core.hardening import HostRule
from bff_core.testing import FakeServices, bff_client

from .served import Echoes, MinePage, Named, ThingPage

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def gateway(**values: object) -> Bff:
    services = FakeServices("echo")
    services["echo"].get(path__regex="/things/a/.*").respond(json={"target": "x"})
    services["echo"].get(path__regex="/things/broken/.*").respond(500)
    settings = Settings.load(services=services.settings, **values)
    app = create_bff("edge", clients=[Echoes], settings=settings, auth=Named(), transport=services.transport)
    app.page("/things/{thing_id}", ThingPage, public=True)
    app.page("/mine", MinePage)

    async def own() -> HTMLResponse:
        return HTMLResponse("<p>", headers={"content-security-policy": "default-src 'self'", "vary": "Accept"})

    async def broken() -> None:
        raise RuntimeError("secret")

    app.add_api_route("/own", own)
    app.add_api_route("/broken", broken)
    return app


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/things/a", 200),
        ("/health/live", 200),
        ("/openapi.json", 200),
        ("/mine", 401),
        ("/nowhere", 404),
        ("/things/%2f", 400),
        ("/things/broken", 502),
        ("/broken", 500),
        ("/things/a?fields=x", 400),
    ],
)
async def test_headers_on_every_answer(path: str, status: int) -> None:
    """Whatever it is, and once each."""
    async with bff_client(gateway(), headers={"x-name": "ada"} if status == 500 else None) as client:
        answer = await client.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in SECURITY} == {n: [v] for n, v in SECURITY.items()}
    assert "geolocation=()" in answer.headers["permissions-policy"]
    assert "strict-transport-security" not in answer.headers
    if status >= 400:
        assert answer.headers["cache-control"] == "no-store"


async def test_an_answers_own_headers_stand() -> None:
    """A page of HTML knows better what it loads; the rest goes with it."""
    async with bff_client(gateway(), headers={"x-name": "ada"}) as client:
        answer = await client.get("/own")
    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["vary"] == "Accept"


async def test_the_documentation_works() -> None:
    """Its own script and style are allowed, there and nowhere else, and it is framed nowhere."""
    async with bff_client(gateway()) as client:
        docs, redoc, schema = [await client.get(path) for path in ("/docs", "/redoc", "/openapi.json")]
    for page in (docs, redoc):
        assert page.status_code == 200
        policy = dict(rule.strip().partition(" ")[::2] for rule in page.headers["content-security-policy"].split(";"))
        for source in ("https://cdn.jsdelivr.net",):
            assert source in page.text
            assert source in policy["script-src"]
        assert "'unsafe-inline'" in policy["script-src"]
        assert policy["frame-ancestors"] == "'none'"
        assert policy["connect-src"] == "'self'"
    assert "cdn" not in schema.headers["content-security-policy"]


async def test_hsts() -> None:
    """With https, or always where a proxy ends TLS; a client's own word for it counts for nothing."""
    own = {"hsts": "max-age=63072000; includeSubDomains; preload"}
    for hardening, scheme, expected in [
        ({}, "https", "max-age=31536000"),
        ({}, "http", None),
        (own, "https", own["hsts"]),
        ({"hsts": ""}, "https", None),
        ({"behind_tls": True}, "http", "max-age=31536000"),
    ]:
        app = gateway(hardening=Hardening(**hardening))
        async with bff_client(app, headers={"x-forwarded-proto": "https"}) as client:
            answer = await client.get(f"{scheme}://bff.test/things/a")
        assert answer.headers.get("strict-transport-security") == expected


LOCAL = [
    "localhost",
    "127.0.0.1:8001",
    "[::1]:8001",
    "10.0.0.7",
    "web",
    "web:8002",
    "bff.test",
    "a.b.example",
    "x.localhost",
    "bff.shop.svc.cluster.local",
    "api.corp.internal",
    "printer.home.arpa",
]
PUBLIC = [
    "example.com",
    "evil.com:80",
    "127.0.0.1.evil.com",
    "127.0.0.1.nip.io",
    "localhost.evil.com",
    "test.com",
    "home.arpa.evil.com",
]
NO_HOST = [
    "",
    " ",
    "a b",
    "a,b",
    "user@localhost",
    "localhost/x",
    "localhost:port",
    "localhost:",
    "a..b",
    ".localhost",
    "[::1",
    "http://localhost",
    "localhost#",
    "lo%63alhost",
    "localhost:123456",
    "ü.test",
]


@pytest.mark.parametrize("host", [*LOCAL, *PUBLIC, *NO_HOST])
def test_hosts_by_default(host: str) -> None:
    """Nobody owns a public name that leads into a gateway that was not told its own."""
    assert HostRule(()).allows(host.encode()) is (True if host in LOCAL else False if host in PUBLIC else None)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("api.example.com", True),
        ("API.Example.COM.:8443", True),
        ("api.example.com.evil.com", False),
        ("example.com", False),
        ("eu.shop.example", True),
        ("shop.example", False),
        ("a.eu.shop.example", False),
        ("evilshop.example", False),
        ("localhost", False),
        ("127.0.0.1", False),
        ("[::1]:80", True),
    ],
)
def test_hosts_by_name(host: str, allowed: bool) -> None:
    """Exactly those, and of a pattern one label; asked again it is the same."""
    rule = HostRule(["API.example.com", "*.shop.example", "[::1]"])
    assert [rule.allows(host.encode()), rule.allows(host.encode())] == [allowed, allowed]


def test_many_hosts_do_not_fill_the_memory() -> None:
    """Of what clients send only so much is remembered."""
    rule = HostRule(["*"])
    assert all(rule.allows(b"h%d" % index) for index in range(1000))
    assert len(rule._known) == 256


@pytest.mark.parametrize(
    "name", ["https://api.example.com", "api.example.com:443", "a.*.example.com", "*.*.com", "", "a b"]
)
def test_hosts_that_are_none(name: str) -> None:
    """Told at start-up."""
    with pytest.raises(SettingsError, match=r"allowed_hosts: .* is no host name"):
        gateway(allowed_hosts=(name,))


async def test_a_host_that_is_not_ours() -> None:
    """421, without a redirect or link made of it; health is anybody's question."""
    app = gateway(allowed_hosts=("api.example.com",))
    async with bff_client(app) as client:
        refused = await client.get("/things/a", headers={"host": "evil.com"})
        health = await client.get("/health/live", headers={"host": "10.1.2.3"})
        malformed = await client.get("/things/a", headers={"host": "a b"})
        fine = await client.get("/things/a", headers={"host": "api.example.com"})
        slash = await client.get("/things/a/", headers={"host": "api.example.com"})
    assert [refused.status_code, health.status_code, malformed.status_code, fine.status_code] == [421, 200, 400, 200]
    assert "evil" not in refused.text
    assert (slash.status_code, "location" in slash.headers) == (404, False)


async def test_head_and_allow() -> None:
    """HEAD is GET without the body (RFC 9110 section 9.3.2); a 405 lists what there is, of all routes of the path."""
    async with bff_client(gateway()) as client:
        got, head = await client.get("/things/a"), await client.head("/things/a")
        private = await client.head("/mine")
        missing = await client.head("/nowhere")
        wrong = await client.post("/things/a")
        plain = await client.post("/own")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert [private.status_code, missing.status_code] == [401, 404]
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
    assert (plain.status_code, plain.headers["allow"]) == (405, "GET")


def test_documented_head() -> None:
    """HEAD is understood, not documented a second time."""
    document = gateway().openapi()
    assert set(document["paths"]["/things/{thing_id}"]) == {"get"}
