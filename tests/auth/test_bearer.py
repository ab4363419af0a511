"""Bearer tokens: whose are trusted, for how long, and what happens when the issuer changes its keys."""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from bff_core import BearerJwt, Principal, Problem
from bff_core.auth import jwks

ISSUER, AUDIENCE = "https://issuer.test", "shop"


def new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": kid})


class Issuer:
    """Publishes keys, counts how often they are asked for, and may be down."""

    def __init__(self) -> None:
        self.keys = [new_key("k1")]
        self.asked = 0
        self.down = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.down:
            return httpx.Response(503)
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})

    def token(self, key: RSAKey | None = None, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": now + 60, "scope": "read write"} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        signer = key or self.keys[0]
        return jwt.encode({"alg": "RS256", "kid": signer.kid} | (header or {}), claims, signer)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def bearer(issuer: Issuer) -> BearerJwt:
    transport = httpx.MockTransport(issuer.answer)
    return BearerJwt(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://issuer.test/jwks", transport=transport)


async def ask(bearer: BearerJwt, token: str) -> Principal | None:
    return await bearer.authenticate([(b"authorization", f"Bearer {token}".encode())])


async def test_a_good_token(bearer: BearerJwt, issuer: Issuer) -> None:
    """Its subject and scopes; verified once, its keys fetched once."""
    token = issuer.token()
    for _ in range(3):
        principal = await ask(bearer, token)
        assert principal is not None
        assert (principal.subject, principal.scopes) == ("u1", {"read", "write"})
    assert await ask(bearer, issuer.token(sub="u2")) == Principal("u2", scopes=frozenset({"read", "write"}))
    assert issuer.asked == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.test"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 9_999_999_999},
        {"exp": "soon"},
    ],
)
async def test_wrong_claims(bearer: BearerJwt, issuer: Issuer, changes: dict[str, Any]) -> None:
    """Each of them alone is enough to be nobody."""
    assert await ask(bearer, issuer.token(**changes)) is None


async def test_forged_tokens(bearer: BearerJwt, issuer: Issuer) -> None:
    """Another key under a known id, the public key as an HMAC secret, no signature, keys brought along: nobody."""
    good = issuer.token()
    head, payload, signature = good.split(".")
    # The algorithm confusion that careless libraries fall for, by hand: ours would not even make such a token.
    confused_head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=")
    public = issuer.keys[0].as_pem(private=False)
    mac = hmac.digest(public, f"{confused_head}.{payload}".encode(), "sha256")
    confused = f"{confused_head}.{payload}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    stranger = new_key("k1")
    brought = issuer.token(stranger, header={"jku": "https://evil.test/jwks"})
    forged = [
        issuer.token(stranger),
        confused,
        brought,
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[:-8]}AAAAAAAA",
        f"{head}..{signature}",
        "a.b.c",
        "....",
        "x",
        "é",
        f"eyJhbGciOiJub25lIn0.{payload}.",
        "y" * 9000,
    ]
    for token in forged:
        assert await ask(bearer, token) is None, token[:40]
    assert await bearer.authenticate([]) is None
    assert await bearer.authenticate([(b"authorization", b"Basic abc")]) is None
    twice = [(b"authorization", f"Bearer {good}".encode())] * 2
    assert await bearer.authenticate(twice) is None


async def test_key_rotation(bearer: BearerJwt, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token under a new key makes the keys be fetched again, no more often than the cool-down allows."""
    assert await ask(bearer, issuer.token())
    issuer.keys.insert(0, new_key("k2"))
    for _ in range(5):
        assert await ask(bearer, issuer.token()) is None
    assert issuer.asked == 1
    monkeypatch.setattr(jwks, "COOLDOWN", 0.0)
    assert await ask(bearer, issuer.token())
    assert issuer.asked == 2


async def test_the_issuer_is_down(bearer: BearerJwt, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its keys are known nobody can be told from anybody: 503. Afterwards the known keys go on being used."""
    issuer.down = True
    with pytest.raises(Problem) as refused:
        await ask(bearer, issuer.token())
    assert refused.value.status == 503
    issuer.down = False
    monkeypatch.setattr(jwks, "COOLDOWN", 0.0)
    assert await ask(bearer, issuer.token())
    issuer.down = True
    monkeypatch.setattr(jwks, "TTL", 0.0)
    assert await ask(bearer, issuer.token(sub="u3"))
