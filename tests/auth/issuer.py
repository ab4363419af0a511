"""An issuer of tokens for tests: publishes keys, counts how often it is asked, may be down; and tokens by hand."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from bff_core import BearerJwt, Principal, Refused

ISSUER, AUDIENCE = "https://issuer.test", "shop"
KEYS = {kid: RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256", "kid": kid}) for kid in ("k1", "k2", "stranger")}
EC = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "e1"})


class Clock:
    """Seconds that pass when told to."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Recorder:
    """Stands in for a module's logger: its lines, whatever other tests have configured."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _add(self, event: str, **fields: Any) -> None:
        self.lines.append({"event": event, **fields})

    info = warning = error = exception = _add


class Issuer:
    """Publishes ``keys``; ``published`` overrides the whole answer."""

    def __init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = [KEYS["k1"]]
        self.published: httpx.Response | None = None
        self.asked = 0
        self.down = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.down:
            return httpx.Response(503)
        return self.published or httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})

    def token(self, key: RSAKey | ECKey | None = None, *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token with good claims but for ``changes`` (None leaves a claim out)."""
        signer = key or self.keys[0]
        alg = signer.as_dict(private=False)["alg"]
        return jwt.encode({"alg": alg, "kid": signer.kid} | (header or {}), claims(**changes), signer)

    def by_hand(self, header: bytes, payload: bytes, key: RSAKey | None = None) -> str:
        """A token of any bytes, with a good RS256 signature: what no library would make."""
        from joserfc.jws import JWSRegistry

        signed = b64(header) + b"." + b64(payload)
        signature = JWSRegistry.algorithms["RS256"].sign(signed, key or self.keys[0])
        return (signed + b"." + b64(signature)).decode()


def claims(**changes: Any) -> dict[str, Any]:
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u1",
        "exp": int(time.time()) + 3600,
        "scope": "read write",
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def payload(**changes: Any) -> bytes:
    return json.dumps(claims(**changes)).encode()


def b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def bearer(issuer: Issuer, /, **options: Any) -> BearerJwt:
    transport = httpx.MockTransport(issuer.answer)
    base: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://issuer.test/jwks"}
    return BearerJwt(**{**base, **options}, transport=transport)


def scope_of(*headers: tuple[str, str], method: str = "GET", path: str = "/") -> dict[str, Any]:
    """The ASGI scope of a request."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": raw,
    }


async def ask(auth: BearerJwt, token: str) -> Principal | None:
    return await auth.authenticate(scope_of(("authorization", f"Bearer {token}")))


async def reason(auth: BearerJwt, token: str) -> str:
    """Why a token is refused; "" when it is not."""
    refused: Refused | None = None
    try:
        await ask(auth, token)
    except Refused as raised:
        refused = raised
    if refused is None:
        return ""
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert refused.reason not in refused.body().decode()
    return refused.reason
