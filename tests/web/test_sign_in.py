"""Signing in, and every way in which an attacker might take part in it."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from bff_core import DeclarationError, OidcSessions, OidcSettings, SettingsError
from bff_core.auth.oidc.return_to import safe_return

from .fakes import CLIENT_ID, ISSUER, OTHER_KEY, SITE, Browser, Site

pytestmark = pytest.mark.anyio


async def test_a_browser_signs_in_and_is_known(site: Site) -> None:
    """From the 401 over the provider and back; the browser gets one opaque cookie."""
    browser = await site.browser()
    refused = await browser.fetch("/api/me")
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["type"], problem["login"]) == ("urn:problem-type:bff:sign-in", "/auth/login")
    answer = await browser.sign_in(site.provider, "/auth/login?return_to=/orders?page=2%23top")
    assert (answer.status_code, answer.headers["location"]) == (303, "/orders?page=2#top")
    assert answer.headers["cache-control"] == "no-store"
    cookie = next(line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-Http-session="))
    value, *attributes = cookie.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]
    assert len(value) == len("__Host-Http-session=") + 43
    me = (await browser.fetch("/api/me")).json()["me"]
    assert me == {"subject": "u1", "token": site.provider.issued[0], "scopes": ["openid", "orders:read"]}
    assert (await browser.fetch("/api/orders")).status_code == 200


async def test_the_login_cookie_is_short_lived_and_goes_when_used(site: Site) -> None:
    browser = await site.browser()
    begun = await browser.navigate("/auth/login")
    (cookie,) = begun.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-Http-login-")
    assert "Max-Age=600" in cookie
    await browser.navigate(site.provider.authorize(begun.headers["location"]), site="cross-site")
    assert list(browser.client.cookies) == ["__Host-Http-session"]


async def test_the_services_get_the_users_token_and_no_cookie(site: Site) -> None:
    browser = await site.browser()
    await browser.sign_in(site.provider)
    echo = (await browser.fetch("/api/echo", headers={"authorization": "Bearer of-the-client"})).json()["echo"]
    assert echo == {"authorization": f"Bearer {site.provider.issued[0]}", "cookie": None}


async def test_signing_in_gives_a_new_identifier_and_ends_the_old_session(site: Site) -> None:
    """Session fixation: what the browser had before is of no use afterwards, to nobody."""
    app = await site.gateway()
    browser, attacker = await site.browser(app), await site.browser(app)
    await attacker.sign_in(site.provider)
    planted = attacker.session
    assert planted is not None
    browser.client.cookies.set("__Host-Http-session", planted, domain="shop.test", path="/")
    await browser.sign_in(site.provider)
    assert browser.session not in (None, planted)
    assert (await attacker.fetch("/api/me")).status_code == 401
    assert (await browser.fetch("/api/me")).status_code == 200


async def test_an_identifier_that_was_made_up_is_nobodys(site: Site) -> None:
    browser = await site.browser()
    browser.client.cookies.set("__Host-Http-session", "A" * 43, domain="shop.test", path="/")
    assert (await browser.fetch("/api/me")).status_code == 401


async def test_login_csrf(site: Site) -> None:
    """The attacker's own callback address, opened in a browser that began nothing."""
    app = await site.gateway()
    attacker, victim = await site.browser(app), await site.browser(app)
    address = site.provider.authorize(await attacker.begin())
    answer = await victim.navigate(address, site="cross-site")
    assert answer.status_code == 400
    assert victim.session is None
    await victim.begin()  # nor in one that began something else
    assert (await victim.navigate(address, site="cross-site")).status_code == 400
    assert victim.session is None


async def test_a_callback_is_good_once(site: Site) -> None:
    """State and code replayed, in the same browser too, with all the cookies it had."""
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin())
    kept = dict(browser.client.cookies)
    assert (await browser.navigate(address)).status_code == 303
    assert (await browser.navigate(address)).status_code == 400
    for name, value in kept.items():
        browser.client.cookies.set(name, value, domain="shop.test", path="/")
    asked = len(site.provider.forms)
    assert (await browser.navigate(address)).status_code == 400
    assert len(site.provider.forms) == asked, "the code was sent a second time"


async def test_a_code_of_another_sign_in(site: Site) -> None:
    """Code injection: a code that somebody else was given does not fit the verifier and the nonce."""
    app = await site.gateway()
    victim, attacker = await site.browser(app), await site.browser(app)
    stolen = parse_qs(urlsplit(site.provider.authorize(await victim.begin())).query)["code"][0]
    address = site.provider.authorize(await attacker.begin())
    code = parse_qs(urlsplit(address).query)["code"][0]
    site.provider.codes[stolen]["code_challenge"] = site.provider.codes[code]["code_challenge"]  # even without PKCE
    answer = await attacker.navigate(address.replace(code, stolen))
    assert (answer.status_code, attacker.session) == (400, None)


async def test_a_code_that_the_provider_does_not_know(site: Site) -> None:
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin())
    site.provider.codes.clear()
    answer = await browser.navigate(address)
    assert answer.status_code == 400
    assert "invalid_grant" not in answer.text


@pytest.mark.parametrize("issuer", ["", "&iss=https%3A%2F%2Fevil.test", "&iss=https%3A%2F%2Fid.test%2F"])
async def test_mix_up(site: Site, issuer: str) -> None:
    """An answer of another provider, or of one that does not say who it is (RFC 9207)."""
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin()).partition("&iss=")[0]
    answer = await browser.navigate(address + issuer)
    assert (answer.status_code, browser.session) == (400, None)
    assert not site.provider.issued


async def test_a_provider_that_never_names_itself(site: Site) -> None:
    """Need not; but what it says must be right."""
    del site.provider.metadata["authorization_response_iss_parameter_supported"]
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin()).partition("&iss=")[0]
    assert (await browser.navigate(address + "&iss=https://evil.test")).status_code == 400
    assert (await browser.navigate(address)).status_code == 303


@pytest.mark.parametrize("name", ["state", "code", "iss", "other"])
@pytest.mark.parametrize("place", ["before", "after"])
async def test_parameters_that_come_twice(site: Site, name: str, place: str) -> None:
    """Whoever reads the first, and whoever reads the last, must not read different things."""
    browser = await site.browser()
    path, _, query = site.provider.authorize(await browser.begin()).partition("?")
    query += "&other=1"
    query = f"{name}=x&{query}" if place == "before" else f"{query}&{name}=x"
    assert (await browser.navigate(f"{path}?{query}")).status_code == 400


async def test_a_sign_in_that_took_too_long(site: Site) -> None:
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin())
    site.clock.now += 601
    assert (await browser.navigate(address)).status_code == 400


async def test_a_refusal_of_the_provider(site: Site) -> None:
    browser = await site.browser()
    query = parse_qs(urlsplit(await browser.begin()).query)
    address = f"/auth/callback?state={query['state'][0]}&iss={ISSUER}&error=access_denied&error_description=<script>"
    answer = await browser.navigate(address)
    assert answer.status_code == 400
    assert "script" not in answer.text
    assert answer.json()["login"] == "/auth/login"


WRONG: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "audience": {"aud": "another"},
    "several audiences without azp": {"aud": [CLIENT_ID, "another"]},
    "azp": {"azp": "another"},
    "issuer": {"iss": "https://evil.test"},
    "expired": {"exp": 1},
    "from the future": {"iat": 4_000_000_000},
    "no iat": {"iat": None},
    "no subject": {"sub": None},
    "at_hash": {"at_hash": "another"},
    "tenant of another type": {"tenant": 7},
    "tenant that is somebody": {"tenant": "https://issuer.example|ann"},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_id_token_with_something_wrong(site: Site, wrong: str) -> None:
    site.provider.changes = WRONG[wrong]
    browser = await site.browser()
    answer = await browser.sign_in(site.provider)
    assert (answer.status_code, browser.session) == (400, None)


async def test_several_audiences_with_our_azp(site: Site) -> None:
    site.provider.changes = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    browser = await site.browser()
    assert (await browser.sign_in(site.provider)).status_code == 303


async def test_an_id_token_of_another_key(site: Site) -> None:
    site.provider.key = OTHER_KEY
    browser = await site.browser()
    assert (await browser.sign_in(site.provider)).status_code == 400


@pytest.mark.parametrize("alg", ["none", "HS256"])
async def test_an_id_token_without_a_signature_worth_the_name(
    site: Site, alg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsigned(claims: dict[str, Any], typ: str = "JWT") -> str:
        parts = [json.dumps(part).encode() for part in ({"alg": alg, "kid": "k1"}, claims)]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in [*parts, b"signature"])

    monkeypatch.setattr(site.provider, "signed", unsigned)
    browser = await site.browser()
    assert (await browser.sign_in(site.provider)).status_code == 400


async def test_an_access_token_that_could_split_a_header(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    issue = site.provider._issue

    def split(grant: str, asked: dict[str, str] | None) -> httpx.Response:
        document = issue(grant, asked).json()
        return httpx.Response(200, json={**document, "access_token": "a\r\nx-principal: admin"})

    monkeypatch.setattr(site.provider, "_issue", split)
    browser = await site.browser()
    assert (await browser.sign_in(site.provider)).status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
        {"sec-fetch-dest": "iframe"},
        {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    ],
)
async def test_signing_in_begins_with_a_navigation(site: Site, headers: dict[str, str]) -> None:
    browser = await site.browser()
    answer = await browser.navigate("/auth/login", **headers)
    assert answer.status_code in (400, 403)
    assert not browser.client.cookies


async def test_head_begins_and_ends_nothing(site: Site) -> None:
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin())
    assert (await browser.client.head(address)).status_code == 405
    assert (await browser.navigate(address)).status_code == 303


async def test_logins_that_were_begun_do_not_pile_up(site: Site) -> None:
    """Two tabs may sign in at once; a hundred are none of a user's."""
    browser = await site.browser()
    addresses = [site.provider.authorize(await browser.begin()) for _ in range(2)]
    assert [(await browser.navigate(address)).status_code for address in addresses] == [303, 303]
    for _ in range(100):
        await browser.begin()
        assert len(browser.client.cookies) <= 5


async def test_pushed_authorization_requests(site: Site) -> None:
    site.provider.metadata["pushed_authorization_request_endpoint"] = f"{ISSUER}/par"
    browser = await site.browser(parameters={"resource": "https://api.test"})
    location = await browser.begin()
    assert set(parse_qs(urlsplit(location).query)) == {"client_id", "request_uri"}
    assert site.provider.forms[0]["resource"] == "https://api.test"
    assert (await browser.navigate(site.provider.authorize(location))).status_code == 303


async def test_client_secret_post(site: Site) -> None:
    site.provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    browser = await site.browser()
    await browser.sign_in(site.provider)
    form = site.provider.forms[-1]
    assert (form["client_id"], form["client_secret"]) == (CLIENT_ID, "s3cr3t & more")


@pytest.mark.parametrize("form", ["jwk", "pem"])
async def test_private_key_jwt(site: Site, form: str) -> None:
    key = ECKey.generate_key("P-256", {"kid": "c1"} if form == "jwk" else {})
    text = json.dumps(key.as_dict(private=True)) if form == "jwk" else key.as_pem(private=True).decode()
    browser = await site.browser(client_key=text)
    assert (await browser.sign_in(site.provider)).status_code == 303
    token = jwt.decode(site.provider.forms[-1]["client_assertion"], key, algorithms=["ES256"])
    assert token.claims["iss"] == token.claims["sub"] == CLIENT_ID
    assert token.claims["aud"] == ISSUER
    assert 0 < token.claims["exp"] - site.clock() <= 60
    assert token.header.get("kid") == ("c1" if form == "jwk" else None)


async def test_step_up(site: Site) -> None:
    """Who signed in long ago is asked again; the answer must be fresh, whatever the provider says."""
    browser = await site.browser()
    await browser.sign_in(site.provider)
    assert (await browser.fetch("/api/secret")).status_code == 200
    site.clock.now += 120
    refused = await browser.fetch("/api/secret")
    assert refused.status_code == 401
    assert refused.json()["type"] == "urn:problem-type:bff:step-up"
    assert 'error="insufficient_user_authentication", max_age="60"' in refused.headers["www-authenticate"]
    login = refused.json()["login"]
    assert login == "/auth/login?max_age=60"
    location = await browser.begin(login)
    assert parse_qs(urlsplit(location).query)["max_age"] == ["60"]
    site.provider.changes = {"auth_time": int(site.clock()) - 100}
    before = browser.session
    assert (await browser.navigate(site.provider.authorize(location))).status_code == 400
    site.provider.changes = {}
    assert (await browser.sign_in(site.provider, login)).status_code == 303
    assert browser.session != before
    assert (await browser.fetch("/api/secret")).status_code == 200


async def test_step_up_to_another_way_of_signing_in(site: Site) -> None:
    browser = await site.browser()
    login = "/auth/login?acr_values=mfa+phr"
    site.provider.claims["acr"] = "pwd"
    assert (await browser.sign_in(site.provider, login)).status_code == 400
    site.provider.claims["acr"] = "phr"
    assert (await browser.sign_in(site.provider, login)).status_code == 303


@pytest.mark.parametrize("query", ["max_age=-1", "max_age=x", "acr_values=%22", "prompt=none", "prompt=x"])
async def test_what_cannot_be_asked_for(site: Site, query: str) -> None:
    browser = await site.browser()
    assert (await browser.navigate(f"/auth/login?{query}")).status_code == 400


TRICKS = [
    "https://evil.test",
    "//evil.test",
    "///evil.test",
    "/\\evil.test",
    "\\evil.test",
    "\\\\evil.test",
    "/\\/evil.test",
    "http:evil.test",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.test",
    ".",
    "..",
    "/./",
    "/..",
    "/../evil",
    "/.//evil.test",
    "/a/..//evil.test",
    "/a//b",
    "/%2Fevil.test",
    "/%2f%2fevil.test",
    "/%5Cevil.test",
    "/%255Cevil.test",
    "/%252Fevil.test",
    "/%25252525252Fevil.test",
    "/%09/evil.test",
    "/%0d%0aset-cookie:x=1",
    "/%00",
    "/%E2%80%AE/%c2%a0",
    "/%2e%2e/evil",
    "/%2e/x",
    "/auth/login",
    "/auth/logout",
    "/auth/callback?code=x",
    "/auth",
    "/%61uth/login",
]


@pytest.mark.parametrize(
    "trick", [*TRICKS, "", " /x", "/x y", "/\tx", "/\nx", "/é", "/" + "x" * 2048, "/\u2028", "\x00/", "/x\\..\\y"]
)
def test_open_redirects(trick: str) -> None:
    assert safe_return(trick, "/auth") == "/"


@pytest.mark.parametrize(
    "path", ["/", "/orders", "/orders?next=https://evil.test//x", "/a%20b", "/caf%C3%A9#top", "/authors", "/x?y=%2F%2F"]
)
def test_returns_that_are_good(path: str) -> None:
    assert safe_return(path, "/auth") == path


@given(st.text(alphabet="/\\.%25Ff:?#@ae\t ", max_size=20))
def test_a_return_never_leaves_the_origin(text: str) -> None:
    location = safe_return(text, "/auth")
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))
    assert str(httpx.URL(SITE).join(location)).startswith(SITE + "/")


@pytest.mark.parametrize("trick", ["https://evil.test", "//evil.test", "/%5Cevil.test"])
async def test_an_open_redirect_over_the_whole_way(site: Site, trick: str) -> None:
    browser = await site.browser()
    answer = await browser.sign_in(site.provider, f"/auth/login?return_to={trick}")
    assert answer.headers["location"] == "/"


async def test_nobody_signs_in_while_the_provider_is_down(site: Site) -> None:
    browser = await site.browser()
    site.provider.down = True
    answer = await browser.navigate("/auth/login")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_the_provider_goes_down_between(site: Site) -> None:
    browser = await site.browser()
    address = site.provider.authorize(await browser.begin())
    site.provider.down = True
    assert (await browser.navigate(address)).status_code == 503


async def test_a_document_of_another_issuer(site: Site) -> None:
    site.provider.metadata["issuer"] = "https://evil.test"
    browser = await site.browser()
    assert (await browser.navigate("/auth/login")).status_code == 503


async def test_a_document_that_points_to_plain_http(site: Site) -> None:
    site.provider.metadata["token_endpoint"] = "http://id.test/token"
    browser = await site.browser()
    assert (await browser.navigate("/auth/login")).status_code == 503


async def test_cookies_for_development(site: Site) -> None:
    """Over http they have another name: no production gateway takes them."""
    browser: Browser = await site.browser(base_url="http://localhost:8002", insecure_cookies=True)
    elsewhere = await browser.navigate("http://127.0.0.1:8002/auth/login?return_to=/a")
    assert elsewhere.headers["location"] == "http://localhost:8002/auth/login?return_to=/a", "cookies go by the name"
    answer = await browser.navigate("http://localhost:8002/auth/login")
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("dev-login-")
    assert "Secure" not in cookie
    assert "HttpOnly; SameSite=Lax" in cookie


ARGUMENTS: dict[str, Any] = {"issuer": ISSUER, "client_id": "web", "client_secret": "x", "base_url": SITE}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"base_url": "http://shop.test"}, "over TLS"),
        ({"base_url": "http://localhost:8002"}, "insecure_cookies"),
        ({"base_url": "http://shop.test", "insecure_cookies": True}, "own address"),
        ({"base_url": "https://shop.test", "insecure_cookies": True}, "own address"),
        ({"base_url": "https://shop.test/path"}, "is an origin"),
        ({"client_secret": None}, "either client_secret"),
        ({"client_key": "x", "client_secret": None}, "no private"),
        ({"scopes": ["profile"]}, "openid"),
        ({"scopes": "openid"}, "is a list"),
        ({"algorithms": ["HS256"]}, "takes of"),
        ({"after_logout": "//evil.test"}, "after_logout"),
        ({"issuer": "https://id.test?x"}, "issuer"),
        ({"issuer": "ftp://id.test"}, "issuer"),
    ],
)
def test_wrong_declarations(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        OidcSessions(**{**ARGUMENTS, **wrong})


@pytest.mark.parametrize("wrong", [{"store": "sqlite:///x.db"}, {"keys": ["short"]}])
def test_wrong_keys(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="key"):
        OidcSessions(**{**ARGUMENTS, **wrong})


def test_settings() -> None:
    """Everything that can be set arrives."""
    settings = OidcSettings.model_validate(
        {**ARGUMENTS, "session_keys": f"{'n' * 32},{'o' * 32}", "scopes": "openid orders", "lifetime": 100}
    )
    told = settings.arguments()
    assert (told["keys"], told["scopes"], told["lifetime"]) == (["n" * 32, "o" * 32], ["openid", "orders"], 100)
    assert OidcSessions.from_settings(settings).origin == SITE.encode()
    assert "'x'" not in repr(settings)
