"""The demo's OpenID Provider: it signs in who it should, and is strict about the rest."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from shop.services.grants import CODE_LASTS, REFRESH_LASTS, Grant, Grants
from shop.services.identity import create_app
from shop.services.openid import Demo

DEMO = Demo("http://id.test", "http://web.test", "the secret & more")
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "http://web.test/auth/callback"
ASKED = {
    "client_id": "web",
    "redirect_uri": BACK,
    "response_type": "code",
    "scope": "openid profile offline_access",
    "state": 's"<',
    "nonce": "n",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
CLIENT = httpx.BasicAuth("web", "the+secret+%26+more")


@pytest.fixture
async def provider(seeded: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(seeded, demo=DEMO))
    async with httpx.AsyncClient(transport=transport, base_url="http://id.test") as client:
        yield client


async def sign_in(provider: httpx.AsyncClient, **changes: str) -> dict[str, str]:
    """What the browser brings back."""
    form = {**ASKED, "user": "u2", **changes}
    answer = await provider.post("/authorize", data=form)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith(f"{BACK}?")
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def redeem(provider: httpx.AsyncClient, code: str, **changes: str) -> httpx.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": VERIFIER}
    return await provider.post("/oauth/token", data=form | changes, auth=CLIENT)


async def renew(provider: httpx.AsyncClient, token: str) -> httpx.Response:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return await provider.post("/oauth/token", data=form, auth=CLIENT)


async def test_the_form(provider: httpx.AsyncClient) -> None:
    """A button for each guest, the request as it came, escaped; nothing else may run or take the form."""
    answer = await provider.get("/authorize", params=ASKED)
    assert answer.status_code == 200
    assert len(re.findall(r'<button name="user" value="u\d">', answer.text)) == 8
    assert 'name="state" value="s&quot;&lt;"' in answer.text
    assert "form-action 'self' http://web.test;" in answer.headers["content-security-policy"]
    assert "no-store" in answer.headers["cache-control"]


async def test_signed_in(provider: httpx.AsyncClient) -> None:
    """Tokens for the code, once; then others for each refresh token, once."""
    back = await sign_in(provider)
    assert (back["state"], back["iss"]) == ('s"<', "http://id.test")
    first = (await redeem(provider, back["code"])).json()
    keys = KeySet.import_key_set((await provider.get("/.well-known/jwks.json")).json())
    claims = jwt.decode(first["id_token"], keys, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["sub"], claims["nonce"]) == ("http://id.test", "web", "u2", "n")
    assert claims["name"]
    assert jwt.decode(first["access_token"], keys, algorithms=["RS256"]).claims["sub"] == "u2"
    second = (await renew(provider, first["refresh_token"])).json()
    assert "nonce" not in jwt.decode(second["id_token"], keys, algorithms=["RS256"]).claims
    third = (await renew(provider, second["refresh_token"])).json()
    assert (await renew(provider, first["refresh_token"])).json() == {"error": "invalid_grant"}
    assert (await renew(provider, third["refresh_token"])).json() == {"error": "invalid_grant"}, "the thief's or ours"


async def test_signed_out(provider: httpx.AsyncClient) -> None:
    """Back to the registered address alone; a token that was given back is good for nothing."""
    tokens = (await redeem(provider, (await sign_in(provider))["code"])).json()
    assert (await provider.post("/oauth/revoke", data={"token": tokens["refresh_token"]})).status_code == 401
    given = await provider.post("/oauth/revoke", data={"token": tokens["refresh_token"]}, auth=CLIENT)
    assert given.status_code == 200
    assert (await renew(provider, tokens["refresh_token"])).status_code == 400
    leave = {"client_id": "web", "post_logout_redirect_uri": "http://web.test/", "state": "s"}
    assert (await provider.get("/end_session", params=leave)).headers["location"] == "http://web.test/?state=s"
    for wrong in ({"post_logout_redirect_uri": "http://web.test/x"}, {"client_id": "other"}):
        assert (await provider.get("/end_session", params=leave | wrong)).status_code == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_requests_that_are_not_in_order(provider: httpx.AsyncClient, changes: dict[str, str], error: str) -> None:
    """Whoever sent the browser is told."""
    answer = await provider.get("/authorize", params=ASKED | changes)
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == [error]


async def test_nobody(provider: httpx.AsyncClient) -> None:
    """Who does not want to is not signed in, nor is who is not on the list."""
    for user in ("", "u9", "u5000"):
        assert (await sign_in(provider, user=user))["error"] == "access_denied"


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "http://web.test/auth/callback/"},
        {"redirect_uri": "http://web.test/auth/callback?x"},
        {"redirect_uri": "http://evil.test/auth/callback"},
        {"redirect_uri": ""},
        {"client_id": "other"},
    ],
)
async def test_nobody_is_sent_elsewhere(provider: httpx.AsyncClient, changes: dict[str, str]) -> None:
    """Nor told anything there."""
    for answer in (
        await provider.get("/authorize", params=ASKED | changes),
        await provider.post("/authorize", data={**ASKED, "user": "u1", **changes}),
        await provider.get(f"/authorize?{urlencode(ASKED)}&{urlencode(changes)}"),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def test_forms_of_other_sites(provider: httpx.AsyncClient) -> None:
    """They sign nobody in."""
    headers = {"sec-fetch-site": "cross-site"}
    assert (await provider.post("/authorize", data={**ASKED, "user": "u1"}, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [{"code_verifier": "w" * 43}, {"code_verifier": ""}, {"redirect_uri": "http://web.test/"}],
)
async def test_codes_that_are_not_good(provider: httpx.AsyncClient, changes: dict[str, str]) -> None:
    """A code that failed once is spent."""
    code = (await sign_in(provider))["code"]
    assert (await redeem(provider, code, **changes)).json() == {"error": "invalid_grant"}
    assert (await redeem(provider, code)).json() == {"error": "invalid_grant"}
    assert (await redeem(provider, "x")).json() == {"error": "invalid_grant"}


async def test_a_code_that_comes_twice(provider: httpx.AsyncClient) -> None:
    """Ends what the first one got; and it is no refresh token."""
    code = (await sign_in(provider))["code"]
    assert (await renew(provider, code)).status_code == 400
    tokens = (await redeem(provider, code)).json()
    assert (await redeem(provider, code)).status_code == 400
    assert (await renew(provider, tokens["refresh_token"])).status_code == 400


async def test_other_clients(provider: httpx.AsyncClient) -> None:
    """Only who has the secret gets anything."""
    for auth in (None, httpx.BasicAuth("web", "wrong"), httpx.BasicAuth("other", "the+secret+%26+more")):
        answer = await provider.post("/oauth/token", data={"grant_type": "refresh_token"}, auth=auth)
        assert (answer.status_code, answer.json()) == (401, {"error": "invalid_client"})


def test_what_was_given_ends() -> None:
    """A code after a minute, a refresh token after eight hours; then nothing of it is kept."""
    now = [0.0]
    grants = Grants(lambda: now[0])
    grant = Grant("web", BACK, "u1", "openid", None, CHALLENGE, 0)
    late, good = grants.code(grant), grants.code(grant)
    given = grants.redeem(good, "web", BACK, VERIFIER)
    assert given is not None
    now[0] = CODE_LASTS + 1
    assert grants.redeem(late, "web", BACK, VERIFIER) is None
    now[0] = REFRESH_LASTS + 1
    assert grants.renew(given[1], "web") is None
    grants.code(grant)
    assert len(grants._given) == 1
    assert not grants._ended
