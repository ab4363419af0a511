"""CORS as a browser sees it: the Fetch standard's checks, run against a gateway's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from bff_core import Bff, Cors, Settings, create_bff
from bff_core.testing import FakeServices, bff_client

from .served import Echoes, MinePage, Named, ThingPage

APP = "https://app.example.com"
SAFE = {"accept", "accept-language", "content-language"}
PLAIN = {"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"}


def gateway(cors: Cors | None) -> tuple[Bff, FakeServices]:
    services = FakeServices("echo")
    services["echo"].get(path__regex="/things/.*").respond(json={"target": "x"})
    settings = Settings(services=services.settings, cors=cors)
    app = create_bff("cors", clients=[Echoes], settings=settings, auth=Named(), transport=services.transport)
    app.page("/things/{thing_id}", ThingPage, public=True)
    app.page("/mine", MinePage)
    return app, services


def shares(answer: httpx.Response, origin: str, *, credentials: bool) -> bool:
    """The CORS check of the Fetch standard."""
    allowed = answer.headers.get_list("access-control-allow-origin")
    if len(allowed) != 1:
        return False
    if not credentials and allowed == ["*"]:
        return True
    return allowed == [origin] and (not credentials or answer.headers.get("access-control-allow-credentials") == "true")


def listed(answer: httpx.Response, header: str) -> set[str]:
    return {part.strip() for part in answer.headers.get(header, "").split(",")}


async def script(
    client: httpx.AsyncClient,
    origin: str,
    *,
    method: str = "GET",
    path: str = "/things/a",
    headers: Mapping[str, str] | None = None,
    credentials: bool = False,
) -> httpx.Response | None:
    """What a script of ``origin`` gets of ``fetch``: an answer it may read, or a network error."""
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    unsafe = sorted(
        name for name in headers if name not in SAFE and not (name == "content-type" and headers[name] in PLAIN)
    )
    if method not in ("GET", "HEAD", "POST") or unsafe:
        asks = {"origin": origin, "access-control-request-method": method}
        if unsafe:
            asks["access-control-request-headers"] = ",".join(unsafe)
        preflight = await client.options(path, headers=asks)
        methods = {*listed(preflight, "access-control-allow-methods"), "GET", "HEAD", "POST"}
        allowed = {name.lower() for name in listed(preflight, "access-control-allow-headers")}
        if not (
            shares(preflight, origin, credentials=credentials)
            and preflight.is_success
            and (method in methods or (not credentials and "*" in methods))
            and all(
                name in allowed or (not credentials and "*" in allowed and name != "authorization") for name in unsafe
            )
        ):
            return None
    answer = await client.request(method, path, headers={**headers, "origin": origin})
    return answer if shares(answer, origin, credentials=credentials) else None


EXACT = Cors(origins=(APP,))
CREDENTIALS = Cors(origins=(APP, "https://*.shop.example"), credentials=True, headers=("X-Name", "Content-Type"))
PUBLIC = Cors(origins=("*",))


@pytest.mark.parametrize(
    ("cors", "origin", "fetch", "status"),
    [
        (None, APP, {}, None),
        (EXACT, APP, {}, 200),
        (EXACT, APP, {"path": "/mine"}, 401),
        (EXACT, APP, {"path": "/nowhere"}, 404),
        (EXACT, APP, {"path": "/things/%2e%2e"}, None),
        (EXACT, APP, {"method": "DELETE"}, 405),
        (EXACT, APP, {"method": "PROPFIND"}, None),
        (EXACT, APP, {"headers": {"Authorization": "Bearer x"}}, 200),
        (EXACT, APP, {"headers": {"X-Name": "ada"}}, None),
        (EXACT, APP, {"credentials": True}, None),
        (EXACT, "null", {}, None),
        (EXACT, "http://app.example.com", {}, None),
        (EXACT, "https://app.example.com:8443", {}, None),
        (EXACT, "https://app.example.com.evil.com", {}, None),
        (EXACT, "https://app.example.co", {}, None),
        (EXACT, "https://xapp.example.com", {}, None),
        (EXACT, "https://APP.example.com", {}, None),
        (EXACT, "https://app.example.com/", {}, None),
        (CREDENTIALS, APP, {"credentials": True}, 200),
        (CREDENTIALS, APP, {"credentials": True, "path": "/mine", "headers": {"X-Name": "ada"}}, 200),
        (CREDENTIALS, "https://eu.shop.example", {"credentials": True}, 200),
        (CREDENTIALS, "https://shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://a.b.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://evilshop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://evil.com#.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://evil.com/.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://a@evil.com:.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://-.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://*.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://euxshop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://eu.shop.example\n", {"credentials": True}, None),
        (CREDENTIALS, "https://eu.shopxexample", {"credentials": True}, None),
        (CREDENTIALS, "http://eu.shop.example", {"credentials": True}, None),
        (CREDENTIALS, "https://eu.shop.example:444", {"credentials": True}, None),
        (CREDENTIALS, "null", {"credentials": True}, None),
        (PUBLIC, "https://anybody.example", {}, 200),
        (PUBLIC, "https://anybody.example", {"credentials": True}, None),
        (PUBLIC, "null", {}, None),
        (Cors(origins=("https://app.example.com:443",)), APP, {}, 200),
        (Cors(origins=("HTTPS://App.Example.Com",)), APP, {}, 200),
        (Cors(origins=("https://app.example.com:8443",)), "https://app.example.com:8443", {}, 200),
        (Cors(origins=("https://app.example.com:8443",)), APP, {}, None),
        (Cors(origins=("http://localhost:5173",)), "http://localhost:5173", {}, 200),
        (Cors(origins=("http://[::1]:5173",)), "http://[::1]:5173", {}, 200),
        (Cors(origins=("capacitor://localhost",)), "capacitor://localhost", {}, 200),
        (Cors(origins=("*",), headers=("*",)), APP, {"headers": {"X-Any": "1"}}, 200),
        (Cors(origins=("*",), headers=("*",)), APP, {"headers": {"Authorization": "Bearer x"}}, None),
        (Cors(origins=(APP,), methods=("GET",)), APP, {"method": "PUT"}, None),
    ],
)
async def test_what_a_script_may_read(
    cors: Cors | None, origin: str, fetch: dict[str, Any], status: int | None
) -> None:
    """The matrix: who asks, how, and what comes of it. Refusals are as readable as answers, where the origin is one
    of ours."""
    app, _ = gateway(cors)
    async with bff_client(app) as client:
        answer = await script(client, origin, **fetch)
    if fetch.get("path") == "/things/%2e%2e":
        status = 400 if cors is not None else None
    assert (None if answer is None else answer.status_code) == status


@pytest.mark.parametrize("cors", [EXACT, CREDENTIALS, PUBLIC])
@pytest.mark.parametrize("origin", [APP, "https://eu.shop.example", "https://evil.com", "null", None])
@pytest.mark.parametrize("path", ["/things/a", "/mine", "/nowhere"])
async def test_caches_are_told(cors: Cors, origin: str | None, path: str) -> None:
    """Every answer varies by Origin, also the one to whoever sent none; none reflects a stranger."""
    app, _ = gateway(cors)
    async with bff_client(app) as client:
        answer = await client.get(path, headers={"origin": origin} if origin else {})
    assert "Origin" in listed(answer, "vary")
    allowed = answer.headers.get("access-control-allow-origin")
    assert allowed in (None, "*", APP, "https://eu.shop.example")
    assert not (allowed == "*" and "access-control-allow-credentials" in answer.headers)
    if origin in (None, "null", "https://evil.com") and cors is not PUBLIC:
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_preflight_goes_nowhere() -> None:
    """Neither authentication nor the page nor a service hears of it; the answer is whole at once."""
    app, services = gateway(CREDENTIALS)
    asks = {"origin": APP, "access-control-request-method": "GET", "access-control-request-headers": "x-name"}
    async with bff_client(app) as client:
        answer = await client.options("/mine", headers=asks)
        refused = await client.options("/mine", headers={**asks, "origin": "https://evil.com"})
        network = await client.options("/mine", headers={**asks, "access-control-request-private-network": "true"})
        no_preflight = await client.options("/mine", headers={"origin": APP})
    assert services.requests == []
    assert answer.status_code == 204
    assert answer.content == b""
    assert {name: value for name, value in answer.headers.items() if name.startswith("access-control-")} == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "ETag, Retry-After, Server-Timing, X-Request-ID",
        "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "X-Name, Content-Type",
        "access-control-max-age": "600",
    }
    assert listed(answer, "vary") == {"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}
    assert refused.status_code == 403
    assert not [name for name in refused.headers if name.startswith("access-control-")]
    assert "access-control-allow-private-network" not in network.headers
    assert no_preflight.status_code == 405


async def test_private_network() -> None:
    """A public site's script reaches into this network when the gateway says so, and only then."""
    app, _ = gateway(Cors(origins=(APP,), private_network=True))
    asks = {"origin": APP, "access-control-request-method": "GET"}
    async with bff_client(app) as client:
        asked = await client.options("/mine", headers={**asks, "access-control-request-private-network": "true"})
        not_asked = await client.options("/mine", headers=asks)
        again = await client.options("/mine", headers=asks)
    assert asked.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in not_asked.headers
    assert "access-control-allow-private-network" not in again.headers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"origins": ()}, "at least 1 item"),
        ({"origins": ("null",)}, "'null' is no origin"),
        ({"origins": ("https://app.example.com/",)}, "without a path"),
        ({"origins": ("https://app.example.com/path",)}, "without a path"),
        ({"origins": ("app.example.com",)}, "is no origin"),
        ({"origins": ("https://user@app.example.com",)}, "is no origin"),
        ({"origins": ("file://host",)}, "is no origin"),
        ({"origins": ("https://*",)}, "is no origin"),
        ({"origins": ("https://*.com",)}, "a whole top-level domain"),
        ({"origins": ("https://a.*.example.com",)}, "is no origin"),
        ({"origins": ("https://*example.com",)}, "is no origin"),
        ({"origins": ("*", APP)}, "'\\*' is every origin"),
        ({"origins": ("*",), "credentials": True}, "does not go with credentials"),
        ({"origins": (APP,), "headers": ("*",), "credentials": True}, "does not go with credentials"),
        ({"origins": (APP,), "methods": ("*",), "credentials": True}, "does not go with credentials"),
        ({"origins": ("*",), "private_network": True}, "does not go with private_network"),
        ({"origins": (APP,), "headers": ("X-A, X-B",)}, "no name of a method or header"),
        ({"origins": (APP,), "methods": ("GET\r\nX: y",)}, "no name of a method or header"),
    ],
)
def test_what_is_refused_at_start_up(values: dict[str, Any], message: str) -> None:
    """A rule that would let in more than it says never comes into force."""
    with pytest.raises(ValidationError, match=message):
        Cors(**values)


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As documented."""
    monkeypatch.setenv("BFF_CORS__ORIGINS", '["https://app.example.com"]')
    monkeypatch.setenv("BFF_CORS__CREDENTIALS", "true")
    assert Settings.load().cors == Cors(origins=(APP,), credentials=True)
