"""Requests that another site has a browser make: none of them does anything, none of them reads anything."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import AnyOf, ApiKey, ApiKeys, Bff, DeclarationError, new_api_key
from bff_core.auth.sessions import cross_site_form, forged

from .fakes import SITE, Browser, Site

pytestmark = pytest.mark.anyio


@pytest.fixture
async def browser(site: Site) -> Browser:
    browser = await site.browser()
    await browser.sign_in(site.provider)
    return browser


async def test_a_script_of_the_site_may(browser: Browser) -> None:
    assert (await browser.fetch("/api/me", "POST")).status_code == 200


FORGED: dict[str, dict[str, Any]] = {
    "a form of another site": {
        "headers": {
            "sec-fetch-site": "cross-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
            "origin": "https://evil.test",
            "x-csrf": None,
            "content-type": "application/x-www-form-urlencoded",
        }
    },
    "JSON as text/plain": {
        "headers": {
            "sec-fetch-site": "cross-site",
            "origin": "https://evil.test",
            "x-csrf": None,
            "content-type": "text/plain",
        },
        "content": "{}",
    },
    "a fetch with credentials": {"headers": {"sec-fetch-site": "cross-site", "origin": "https://evil.test"}},
    "Sec-Fetch-Site: cross-site": {"headers": {"sec-fetch-site": "cross-site", "origin": None}},
    "a sub-domain": {"headers": {"sec-fetch-site": "same-site", "origin": "https://blog.shop.test"}},
    "an address typed in": {"headers": {"sec-fetch-site": "none", "origin": None}},
    "no header of its own": {"headers": {"x-csrf": None}},
    "a header with another value": {"headers": {"x-csrf": "0"}},
    "Origin: null": {"headers": {"sec-fetch-site": None, "origin": "null"}},
    "another origin, same-origin claimed": {"headers": {"origin": "https://evil.test"}},
    "our name, another scheme": {"headers": {"sec-fetch-site": None, "origin": "http://shop.test"}},
    "our name, another port": {"headers": {"sec-fetch-site": None, "origin": "https://shop.test:8443"}},
    "our name in front": {"headers": {"sec-fetch-site": None, "origin": "https://shop.test.evil.test"}},
    "neither Sec-Fetch-Site nor Origin": {"headers": {"sec-fetch-site": None, "origin": None}},
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_forged_call(browser: Browser, how: str) -> None:
    """With the user's cookie, which the browser sends along."""
    answer = await browser.fetch("/api/me", "POST", **FORGED[how])
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "QUERY", "ANYTHING"])
async def test_every_unsafe_method_is_looked_at(site: Site, method: str) -> None:
    app = await site.gateway()

    async def changed() -> str:
        return "changed"

    app.add_api_route("/api/thing", changed, methods=[method])
    browser = await site.browser(app)
    await browser.sign_in(site.provider)
    bare = {"x-csrf": None}
    assert (await browser.fetch("/api/thing", method, headers=bare)).status_code == 403
    assert (await browser.fetch("/api/thing", method)).status_code == 200


async def test_an_old_browser_that_sends_only_an_origin(browser: Browser) -> None:
    answer = await browser.fetch("/api/me", "POST", headers={"sec-fetch-site": None})
    assert answer.status_code == 200


async def test_no_preflight_is_answered(browser: Browser) -> None:
    """So no other site's script can send the header."""
    asked = {"origin": "https://evil.test", "access-control-request-method": "POST"}
    answer = await browser.client.options("/api/me", headers={**asked, "access-control-request-headers": "x-csrf"})
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert answer.status_code == 405


@pytest.mark.parametrize("site_", ["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["cors", "no-cors", "websocket"])
async def test_another_site_reads_nothing(browser: Browser, site_: str, mode: str) -> None:
    answer = await browser.fetch("/api/me", headers={"sec-fetch-site": site_, "sec-fetch-mode": mode})
    assert answer.status_code == 403


async def test_a_link_from_another_site_leads_here(browser: Browser) -> None:
    assert (await browser.navigate("/api/me", site="cross-site")).status_code == 200


async def test_without_a_cookie_there_is_nothing_to_forge(site: Site) -> None:
    """Other credentials are sent by who has them, from wherever: beside sessions they work as ever."""
    key = new_api_key()
    import hashlib

    keys = ApiKeys([ApiKey(sha256=hashlib.sha256(key.encode()).hexdigest(), partner="acme")])
    app = await site.gateway(AnyOf(keys, site.sessions()))
    browser = await site.browser(app)
    assert (await browser.client.post("/api/me", headers={"x-api-key": key})).json()["me"]["subject"] == "acme"
    refused = await browser.client.post("/api/me")
    assert refused.status_code == 401
    assert refused.json()["login"] == "/auth/login"
    assert refused.headers["www-authenticate"].startswith('ApiKey realm="partner", Cookie realm="https://shop.test"')
    await browser.sign_in(site.provider)
    assert (await browser.fetch("/api/me")).json()["me"]["subject"] == "u1"
    assert (await browser.client.post("/api/me")).status_code == 403
    assert (await browser.client.post("/api/me", headers={"x-api-key": key})).status_code == 200


async def test_the_session_is_not_the_first_of_several(site: Site) -> None:
    """A session that has ended does not stand in the way of credentials that are good."""
    key = new_api_key()
    import hashlib

    keys = ApiKeys([ApiKey(sha256=hashlib.sha256(key.encode()).hexdigest(), partner="acme")])
    browser = await site.browser(await site.gateway(AnyOf(site.sessions(), keys)))
    browser.client.cookies.set("__Host-Http-session", "A" * 43, domain="shop.test", path="/")
    assert (await browser.fetch("/api/me", headers={"x-api-key": key})).json()["me"]["subject"] == "acme"
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_two_sessions_at_one_gateway(site: Site) -> None:
    with pytest.raises(DeclarationError, match="one cookie"):
        await site.gateway(AnyOf(site.sessions(), site.sessions()))


async def test_sessions_are_not_proxied(site: Site) -> None:
    app: Bff = await site.gateway()
    with pytest.raises(DeclarationError, match="sessions"):
        app.proxy("/x", service="notes", to="/x", request_headers=["Cookie"])


LOGOUTS: dict[str, dict[str, str]] = {
    "a form of another site": {"sec-fetch-site": "cross-site", "origin": "https://evil.test"},
    "a form of a sub-domain": {"sec-fetch-site": "same-site", "origin": "https://blog.shop.test"},
    "Origin: null": {"origin": "null"},
    "nothing said": {},
    "a header without an origin": {"x-csrf": "1"},
    "a header from elsewhere": {"x-csrf": "1", "sec-fetch-site": "cross-site"},
}


@pytest.mark.parametrize("how", LOGOUTS)
async def test_nobody_else_signs_the_user_out(browser: Browser, how: str) -> None:
    answer = await browser.client.post("/auth/logout", headers=LOGOUTS[how])
    assert answer.status_code == 403
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_a_link_signs_nobody_out(browser: Browser) -> None:
    assert (await browser.navigate("/auth/logout", site="cross-site")).status_code == 405
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_openapi_names_the_cookie(site: Site) -> None:
    document = (await site.gateway()).openapi()
    scheme = document["components"]["securitySchemes"]["gateway"]
    assert scheme == {"type": "apiKey", "in": "cookie", "name": "__Host-Http-session"}


VALUES = st.sampled_from([None, b"same-origin", b"same-site", b"cross-site", b"none", b"", b"null", SITE.encode()])


@given(VALUES, VALUES, st.sampled_from([None, b"", b"0", b"1", b"true"]))
def test_only_one_way_in(site_: bytes | None, origin: bytes | None, header: bytes | None) -> None:
    """What passes has the header, and every thing it says of where it is from is ours, and it says something."""
    own = SITE.encode()
    said = [value for value, mine in ((site_, b"same-origin"), (origin, own)) if value not in (None, mine)]
    ours = not said and (site_, origin) != (None, None)
    assert (cross_site_form(site_, origin, own) is None) == ours
    assert (forged(site_, origin, header, own) is None) == (ours and header == b"1")


@pytest.mark.parametrize(
    ("cookie", "status"),
    [
        ("x=" + "y" * 20_000 + "; __Host-Http-session=" + "A" * 43, 431),
        ("; ".join(f"c{n}=1" for n in range(200)) + "; __Host-Http-session=" + "A" * 43, 431),
        ("__Host-Http-session=" + "é" * 43, 400),
        ("__Host-Http-session=" + "A" * 44, 400),
        ("__Host-Http-session=" + "A" * 43 + "; __Host-Http-session=" + "B" * 43, 401),
        ("__Host-Http-session=", 401),
        ("__Host-Http-sessionx=" + "A" * 43, 401),
        ("x__Host-Http-session=" + "A" * 43, 401),
        ("ünï=cödé; __Host-Http-session=" + "A" * 43, 401),
        (";;;=;", 401),
    ],
)
@pytest.mark.parametrize("path", ["/api/me", "/auth/user"])
async def test_cookies_that_no_browser_of_ours_sends(site: Site, cookie: str, status: int, path: str) -> None:
    """Huge, many, not ASCII, planted twice: refused, never a 500."""
    app = await site.gateway()
    raw = cookie.encode("utf-8")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=SITE) as client:
        answer = await client.get(path, headers=[(b"cookie", raw)])
        assert answer.status_code == status
        login = await client.get("/auth/callback?state=x", headers=[(b"cookie", raw)])
        assert login.status_code in (400, 431)


async def test_a_second_cookie_of_the_name(browser: Browser) -> None:
    """Which of them is whose, nobody knows."""
    both = f"__Host-Http-session={'A' * 43}; __Host-Http-session={browser.session}"
    browser.client.cookies.clear()
    assert (await browser.fetch("/api/me", headers={"cookie": both})).status_code == 401


async def test_the_name_makes_browsers_refuse_what_others_plant(site: Site) -> None:
    """Cookie tossing: the prefix is what a browser goes by (RFC 6265bis section 4.1.3); seen in Chromium by
    test_browser.py."""
    browser = await site.browser()
    answer = await browser.sign_in(site.provider)
    for cookie in answer.headers.get_list("set-cookie"):
        assert cookie.startswith("__Host-Http-")
        assert "Domain" not in cookie
